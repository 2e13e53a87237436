//! What the engine itself was given and gave: the truth that checks hold results against.

use crate::forward::forward_engine;
use crate::parts::OpenModel;
use eval::{Ask, Engine, EngineError, Hook, Passes, Prefix, Score, Seen, Token};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One window in one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// First position with logits.
    pub first_output: usize,
    /// What was done with hidden states.
    pub prefix: Prefix,
    /// `[tokens.len() − first_output][n_vocab]`.
    pub logits: Vec<f32>,
}

/// Listens to engines opened through it. Keeps nothing until [`Tap::listen`].
#[derive(Clone, Debug, Default)]
pub struct Tap {
    heard: Arc<Mutex<Option<Vec<Pass>>>>,
}

impl Tap {
    /// An opener whose engines are listened to.
    pub fn on(self, open: OpenModel) -> OpenModel {
        Arc::new(move |path, settings, n_threads| {
            let engine = open(path, settings, n_threads)?;
            Ok(Box::new(Tapped { engine, tap: self.clone() }))
        })
    }

    /// From now on keeps every pass.
    pub fn listen(&self) {
        *self.lock() = Some(Vec::new());
    }

    /// The passes since [`Tap::listen`], in the order of windows within a call; keeps nothing any more.
    pub fn take(&self) -> Vec<Pass> {
        self.lock().take().unwrap_or_default()
    }

    /// The last pass, while it is listening.
    pub fn last(&self) -> Option<Pass> {
        self.lock().as_ref().and_then(|passes| passes.last().cloned())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Pass>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Tapped {
    engine: Box<dyn Engine>,
    tap: Tap,
}

forward_engine!(Tapped: Tokens, Weights, Graph, Memory);

impl Passes for Tapped {
    fn n_parallel(&self) -> usize {
        self.engine.n_parallel()
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &Score<'_>) -> Result<Vec<Seen>, EngineError> {
        if self.tap.lock().is_none() {
            return self.engine.pass(ask, score);
        }
        let heard: Mutex<Vec<(usize, Vec<f32>)>> = Mutex::default();
        let seen = self.engine.pass(ask, &|slot, logits| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push((slot, logits.to_vec()));
            score(slot, logits);
        })?;
        let mut heard = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
        heard.sort_by_key(|(slot, _)| *slot);
        if let Some(passes) = self.tap.lock().as_mut() {
            passes.extend(heard.into_iter().map(|(slot, logits)| Pass {
                tokens: ask.sequences[slot].tokens.to_vec(),
                first_output: ask.sequences[slot].first_output,
                prefix: ask.prefix,
                logits,
            }));
        }
        Ok(seen)
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        self.engine.generate(prompt, hooks, next)
    }
}
