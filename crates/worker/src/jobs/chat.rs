//! Conversations: the reference answers all of them, then the variant does.

use crate::job_error::JobError;
use crate::loaded::Loaded;
use crate::protocol::{CellSpec, Event, GeneratedAnswer, Prompt};
use crate::serve::Worker;
use eval::{ChatMessage, EngineError, Hook, Token, choose_token};
use record::{Base, Edit, Sampling};
use std::collections::BTreeSet;
use std::io::Write;
use words::plural;

/// The conversations, and how they are answered.
pub(crate) struct Asked {
    /// The name of the chat template among several.
    pub(crate) template: Option<String>,
    pub(crate) chats: Vec<Vec<ChatMessage>>,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: Sampling,
}

impl<W: Write> Worker<'_, W> {
    pub(crate) fn chat(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edits: &[Edit],
        asked: &Asked,
    ) -> Result<(), JobError> {
        let mut prompts = Vec::new();
        for (chat, messages) in asked.chats.iter().enumerate() {
            let prompt = loaded.engine.chat_prompt(asked.template.as_deref(), messages)?;
            self.say(&Event::Prompted(Prompt { chat, text: prompt.text, n_tokens: prompt.tokens.len() }))?;
            prompts.push(prompt.tokens);
        }
        let variant = CellSpec { key: "variant".into(), first_layer: 0, edits: edits.to_vec() };
        self.on_base(loaded, base, std::slice::from_ref(&variant), |worker, loaded, _| {
            worker.answers(loaded, &prompts, &[], false, asked)?;
            if edits.is_empty() { Ok(()) } else { worker.variant(loaded, base, edits, &prompts, asked) }
        })
    }

    fn variant(
        &mut self,
        loaded: &mut Loaded,
        base: &Base,
        edits: &[Edit],
        prompts: &[Vec<Token>],
        asked: &Asked,
    ) -> Result<(), JobError> {
        let activations = self.put_in(loaded, base, edits)?;
        let closures: Vec<_> = activations
            .iter()
            .map(|edit| move |slot: usize, values: &mut [f32], n_per_row: usize| edit.replace(slot, values, n_per_row))
            .collect();
        let hooks: Vec<Hook<'_>> =
            activations.iter().zip(&closures).map(|(edit, replace)| Hook { node: edit.node(), replace }).collect();
        self.answers(loaded, prompts, &hooks, true, asked)
    }

    fn answers(
        &mut self,
        loaded: &mut Loaded,
        prompts: &[Vec<Token>],
        hooks: &[Hook<'_>],
        is_variant: bool,
        asked: &Asked,
    ) -> Result<(), JobError> {
        for (chat, prompt) in prompts.iter().enumerate() {
            self.say(&Event::Started { cell: is_variant.then(|| "variant".into()), chunk: chat })?;
            let ends: BTreeSet<Token> = {
                let n_vocab = loaded.engine.info().n_vocab as Token;
                (0..n_vocab).filter(|&token| loaded.engine.is_end(token)).collect()
            };
            let mut tokens: Vec<Token> = Vec::new();
            let (mut ended, mut is_bad) = (false, false);
            loaded.engine.generate(prompt, hooks, &mut |logits| {
                if tokens.len() >= asked.max_tokens {
                    return None;
                }
                let Some(token) = choose_token(asked.sampling, logits, tokens.len() as u64) else {
                    is_bad = true;
                    return None;
                };
                if ends.contains(&token) {
                    ended = true;
                    return None;
                }
                tokens.push(token);
                Some(token)
            })?;
            if is_bad {
                let why =
                    format!("conversation {chat}: the logits after {} are not finite", plural(tokens.len(), "token"));
                return Err(JobError::Engine(EngineError::Failed(why)));
            }
            let pieces = tokens.iter().map(|&token| loaded.engine.piece(token));
            let bytes = pieces.collect::<Result<Vec<_>, _>>()?.concat();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            self.say(&Event::Answered(GeneratedAnswer { chat, is_variant, tokens, text, ended }))?;
        }
        Ok(())
    }
}
