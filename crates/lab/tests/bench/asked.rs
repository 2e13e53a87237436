//! The mock's answers to questions that a run does not ask: replies, likelihoods of endings, a traced residual stream.

use super::{N_LAYER, SCORED};
use record::{LayerError, RouterSample};
use worker::protocol::{CellSpec, ChoiceSample, Event, GeneratedAnswer, Prompt};

/// The template writes every conversation as `<one>`, in five tokens. The reference replies 1, 2, 3 in every conversation and ends it. The variant replies 1, 9 and is cut.
pub fn replies(n_chats: usize, with_variant: bool) -> Vec<Event> {
    let reply = |chat, is_variant: bool| {
        let tokens = if is_variant { vec![1, 9] } else { vec![1, 2, 3] };
        Event::Answered(GeneratedAnswer { chat, is_variant, text: format!("{tokens:?}"), tokens, ended: !is_variant })
    };
    let prompt = |chat| Event::Prompted(Prompt { chat, text: "<one>".into(), n_tokens: 5 });
    let reference = (0..n_chats).map(|chat| reply(chat, false));
    let variant = (0..n_chats).filter(|_| with_variant).map(|chat| reply(chat, true));
    (0..n_chats).map(prompt).chain(reference).chain(variant).collect()
}

/// The reference finds the first ending the most likely one, a variant the last one.
pub fn choices(cells: &[CellSpec], tasks: &[Vec<String>]) -> Vec<Event> {
    let who = std::iter::once(None).chain(cells.iter().map(|cell| Some(cell.key.clone())));
    let of_task = |cell: &Option<String>, task: usize| {
        let n = tasks[task].len();
        let liked = if cell.is_some() { n - 1 } else { 0 };
        let ln_p = (0..n).map(|choice| if choice == liked { -2.0 } else { -4.0 }).collect();
        Event::Choice(ChoiceSample { cell: cell.clone(), task, ln_p, n_tokens: vec![2; n] })
    };
    who.flat_map(|cell| (0..tasks.len()).map(move |task| of_task(&cell, task)).collect::<Vec<_>>()).collect()
}

/// Routers behind layer 0. From the first touched layer on, every other token flips, with one expert of two.
pub fn routers(first_layer: usize) -> Vec<RouterSample> {
    let of_layer = |layer| {
        let changed = (0..SCORED as u32).map(|token| if layer >= first_layer { token % 2 } else { 0 }).collect();
        RouterSample { layer, n_used: 2, changed }
    };
    (1..N_LAYER).map(of_layer).collect()
}

/// A trace whose difference is half as large as the reference, from the first touched layer on; with `early`, in every
/// layer.
pub fn residual(first_layer: usize, early: bool) -> Vec<LayerError> {
    let of_layer = |layer| match early || layer >= first_layer {
        true => LayerError { squared_error: 1.0, squared_reference: 4.0 },
        false => LayerError { squared_error: 0.0, squared_reference: 4.0 },
    };
    (0..N_LAYER).map(of_layer).collect()
}
