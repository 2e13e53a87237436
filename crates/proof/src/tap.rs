//! What the engine itself was given and gave. Checks compare results with this.

use crate::forward_engine;
use eval::{Ask, Engine, EngineError, Hook, Passes, Prefix, Seen, TakeLogits, Token};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use worker::link::OpenModel;

/// A pass over one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// The window's tokens.
    pub tokens: Vec<Token>,
    /// The first position that has logits.
    pub first_output: usize,
    /// The use that the pass made of recorded hidden states.
    pub prefix: Prefix,
    /// The logits, `[tokens.len() − first_output][n_vocab]`.
    pub logits: Vec<f32>,
}

/// A listener to every engine that is opened through it. It keeps nothing until [`Tap::listen`].
#[derive(Clone, Debug, Default)]
pub struct Tap {
    heard: Arc<Mutex<Option<Vec<Pass>>>>,
}

impl Tap {
    /// Opens models as `open` does, in engines that are listened to.
    pub fn on(&self, open: OpenModel) -> OpenModel {
        let tap = self.clone();
        Arc::new(move |path, settings, n_threads| {
            let engine = open(path, settings, n_threads)?;
            Ok(Box::new(Tapped { engine, tap: tap.clone() }))
        })
    }

    /// Forgets what was heard and keeps every pass from now on.
    pub fn listen(&self) {
        *self.lock() = Some(Vec::new());
    }

    /// Returns the passes since [`Tap::listen`], those of one call in the order of its windows, and stops listening.
    pub fn take(&self) -> Vec<Pass> {
        self.lock().take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Pass>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine that is listened to.
struct Tapped {
    engine: Box<dyn Engine>,
    tap: Tap,
}

forward_engine!(Tapped: Tokens, Weights, Graph, Memory);

impl Passes for Tapped {
    fn n_parallel(&self) -> usize {
        self.engine.n_parallel()
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError> {
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
