//! Passes: contexts get their orders, decode sequences side by side, and say what they saw.

use super::LlamaEngine;
use crate::callback::{ActiveHook, Found, Orders, Pass, PassSeen};
use crate::context::Context;
use eval::{
    Ask, EngineError, Hook, NonFiniteNode, Passes, Prefix, Replace, Seen, Sequence, TakeLogits, Token,
    WatchedActivation,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Contexts with orders for one pass. They forget the orders when this value is dropped, however the pass ends.
struct Ordered<'c>(&'c mut [Context]);

impl<'c> Ordered<'c> {
    /// # Safety
    /// What the hooks of `orders` borrow lives at least as long as what is returned.
    unsafe fn new(contexts: &'c mut [Context], orders: &Orders) -> Self {
        for pass in contexts.iter_mut().filter_map(Context::pass_mut) {
            pass.give(orders.clone());
        }
        Ordered(contexts)
    }
}

impl Drop for Ordered<'_> {
    fn drop(&mut self) {
        for pass in self.0.iter_mut().filter_map(Context::pass_mut) {
            pass.give(Orders::default());
        }
    }
}

/// A hook's function without the lifetime of what it borrows.
///
/// # Safety
/// The pointer is not followed after that lifetime.
unsafe fn forget_lifetime(replace: &Replace<'_>) -> *const Replace<'static> {
    // SAFETY: the types differ in the lifetime alone.
    unsafe { std::mem::transmute::<*const Replace<'_>, *const Replace<'static>>(std::ptr::from_ref(replace)) }
}

/// Works items side by side. A context takes the item of its own number first, then the next one that nobody has taken;
/// the results are in the order of the items. Of several failures the first by number is returned.
fn side_by_side<T: Sync, R: Send>(
    contexts: &mut [Context],
    items: &[T],
    work: &(dyn Fn(usize, &mut Context, &T) -> Result<R, EngineError> + Sync),
) -> Result<Vec<R>, EngineError> {
    let next = AtomicUsize::new(contexts.len());
    let results: Mutex<BTreeMap<usize, Result<R, EngineError>>> = Mutex::default();
    std::thread::scope(|scope| {
        for (own, context) in contexts.iter_mut().enumerate() {
            let (next, results) = (&next, &results);
            let refused = |error| EngineError::Failed(format!("the system refuses a thread for a window: {error}"));
            let work_on_its_own = move || {
                let mut index = own;
                while let Some(item) = items.get(index) {
                    let result = work(index, context, item);
                    let failed = result.is_err();
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
                    if failed {
                        return;
                    }
                    index = next.fetch_add(1, Ordering::Relaxed);
                }
            };
            std::thread::Builder::new().spawn_scoped(scope, work_on_its_own).map_err(refused)?;
        }
        Ok::<(), EngineError>(())
    })?;
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

impl LlamaEngine {
    /// What a pass is to do. It is valid until weights are swapped or restored, and as long as the hooks' borrow.
    ///
    /// # Safety
    /// The orders are given to contexts by way of [`Ordered`] alone, which ends before the hooks' borrow does.
    unsafe fn orders(&mut self, hooks: &[Hook<'_>]) -> Result<Orders, EngineError> {
        let active = |hook: &Hook<'_>| {
            // SAFETY: only the lifetime is changed; by contract nobody follows the pointer after it.
            Ok(ActiveHook::new(self.nodes.place(hook.node)?, unsafe { forget_lifetime(hook.replace) }))
        };
        let hooks = hooks.iter().map(active).collect::<Result<_, EngineError>>()?;
        Ok(Orders { uses: self.weights.use_swaps(), hooks, ..Orders::default() })
    }

    /// What a context saw, with the names of the weights.
    fn named(&self, seen: PassSeen, watch: &[usize]) -> Seen {
        let name = |index: &usize| self.weights.name(*index).to_string();
        let watched = watch.iter().zip(seen.hashes);
        let found = seen.found.map(|Found { node, token, weights }| NonFiniteNode {
            node,
            token,
            weights: weights.iter().map(name).collect(),
        });
        Seen {
            watched: watched.map(|(index, blake3)| WatchedActivation { tensor: name(index), blake3 }).collect(),
            traced: seen.errors,
            routed: seen.routed,
            non_finite: found,
        }
    }
}

impl Passes for LlamaEngine {
    fn n_parallel(&self) -> usize {
        self.n_contexts
    }

    fn pass(&mut self, ask: &Ask<'_>, score: &TakeLogits<'_>) -> Result<Vec<Seen>, EngineError> {
        let n = ask.sequences.len();
        let n_parallel = ask.n_parallel.clamp(1, self.n_contexts);
        if n > n_parallel && (ask.prefix != Prefix::Full || ask.trace) {
            return Err(EngineError::Failed(format!("{n} windows at once, {n_parallel} contexts")));
        }
        let n_contexts = n.min(n_parallel);
        let n_outputs = |sequence: &Sequence<'_>| sequence.tokens.len().saturating_sub(sequence.first_output);
        let most = ask.sequences.iter().map(n_outputs).max().unwrap_or(0).min(self.settings.n_ctx as usize);
        self.make_contexts(n_contexts, most)?;
        let watch: Vec<usize> = ask.watch.iter().filter_map(|name| self.weights.index(name).ok()).collect();
        // SAFETY: `contexts` below ends before `ask` does, which borrows what the hooks borrow.
        let orders = Orders {
            watch: watch.clone(),
            is_traced: ask.trace,
            is_routed: ask.routing,
            is_hunt: ask.stop_at_non_finite,
            ..unsafe { self.orders(ask.hooks) }?
        };
        let prefix = ask.prefix;
        let seen = {
            // SAFETY: as above.
            let contexts = unsafe { Ordered::new(&mut self.contexts[..n_contexts], &orders) };
            side_by_side(contexts.0, ask.sequences, &|slot, context, sequence| {
                if let Some(logits) = context.decode(slot, sequence, prefix)? {
                    score(slot, logits);
                }
                Ok(context.pass_mut().map_or_else(PassSeen::default, Pass::seen))
            })?
        };
        Ok(seen.into_iter().map(|seen| self.named(seen, &watch)).collect())
    }

    fn generate(
        &mut self,
        prompt: &[Token],
        hooks: &[Hook<'_>],
        next: &mut dyn FnMut(&[f32]) -> Option<Token>,
    ) -> Result<(), EngineError> {
        // SAFETY: `contexts` below ends before the hooks do.
        let orders = unsafe { self.orders(hooks) }?;
        if self.writer.is_none() {
            let n_threads = self.threads_each * self.n_contexts;
            // SAFETY: the model is live and outlives the context (field order).
            let mut writer = unsafe { Context::new(self.model.0, &self.settings, n_threads, self.info.n_vocab, 1) }?;
            writer.set_pass(Pass::new(self.addresses.clone()));
            self.writer = Some(writer);
        }
        // SAFETY: as above.
        let contexts = unsafe { Ordered::new(self.writer.as_mut_slice(), &orders) };
        contexts.0.iter_mut().try_for_each(|writer| writer.generate(prompt, next))
    }
}
