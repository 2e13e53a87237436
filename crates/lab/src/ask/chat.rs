//! The replies of a model and of a variant to prompts.

use super::error::AskError;
use super::variant::{Conditions, Variant, VariantRequest};
use super::{AskEvent, Hear};
use eval::{ChatMessage, Sampling, TEMPLATE_DATE, first_divergence};
use numerics::BlockCodec;
use record::Note;
use record::answer::{CHAT_FORMAT, ChatAnswer, ChatExchange, ChatReply};
use worker::protocol::{GeneratedAnswer, Prompt};
use worker::{Event, Job, LinkFactory, Session};

/// The prompts to ask when a user names none.
pub const PROMPTS: [&str; 4] = [
    "Why is the sky blue? Answer in one sentence.",
    "What is 17 + 25? Answer with the number only.",
    "Name three fruits as a JSON array.",
    "Write one sentence about the sea in French.",
];

/// A question about replies.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The model and its variant.
    pub variant: VariantRequest,
    /// The conditions of the measurement.
    pub conditions: Conditions,
    /// The prompts; each begins a conversation of its own.
    pub prompts: Vec<String>,
    /// A system message before each prompt; `None` sends none.
    pub system: Option<String>,
    /// The name of the chat template among several; `None` for the default one.
    pub template: Option<String>,
    /// The number of tokens at which a reply is cut.
    pub max_tokens: usize,
    /// How the tokens of the replies are chosen.
    pub sampling: Sampling,
}

/// Lets the model reply, and then the variant if there is one.
///
/// # Errors
/// When the model has no chat template or a conversation does not fit, a control fails, or the engine does.
pub fn chat(
    request: &ChatRequest,
    workers: &dyn LinkFactory,
    codec: &dyn BlockCodec,
    hear: &mut Hear<'_>,
) -> Result<ChatAnswer, AskError> {
    let variant = Variant::find(&request.variant, codec)?;
    variant.begin(request.prompts.len(), hear);
    let message = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let messages = |prompt: &String| {
        let system = request.system.iter().map(|text| message("system", text));
        system.chain([message("user", prompt)]).collect()
    };
    let job = Job::Chat {
        base: variant.base.clone(),
        edits: variant.edits.clone(),
        template: request.template.clone(),
        chats: request.prompts.iter().map(messages).collect(),
        max_tokens: request.max_tokens,
        sampling: request.sampling,
    };
    let settings = request.conditions.settings();
    let mut session = Session::open(workers, &variant.session(&request.conditions, &settings))?;
    let total = request.prompts.len() * if variant.edits.is_empty() { 1 } else { 2 };
    let (mut prompts, mut replies): (Vec<Prompt>, Vec<GeneratedAnswer>) = Default::default();
    session.hear::<AskError>(&job, &mut |event| {
        match event {
            Event::Memory(plan) => hear(AskEvent::Memory(&plan)),
            // The context is room for a conversation, which may be short.
            Event::Note { note: Note::LongWindows { .. } } => {}
            Event::Note { note } => hear(AskEvent::Note(&note)),
            Event::Prompted(prompt) => prompts.push(prompt),
            Event::Answered(reply) => {
                replies.push(reply);
                hear(AskEvent::Progress { done: replies.len(), total });
            }
            _ => {}
        }
        Ok(())
    })?;
    let tokens_of = |reply: &GeneratedAnswer| {
        let prompt = prompts.iter().find(|prompt| prompt.chat == reply.chat).map_or(0, |prompt| prompt.n_tokens);
        prompt + reply.tokens.len()
    };
    let (longest, n_ctx_train) = (replies.iter().map(tokens_of).max().unwrap_or(0), session.info.n_ctx_train);
    if n_ctx_train > 0 && longest > n_ctx_train as usize {
        hear(AskEvent::Note(&Note::LongConversation { n_tokens: longest, n_ctx_train }));
    }
    Ok(ChatAnswer {
        format: CHAT_FORMAT,
        model: variant.name.clone(),
        arm: variant.base.arm,
        apply: variant.applied(),
        fallbacks: variant.fallbacks.clone(),
        sampling: request.sampling,
        max_tokens: request.max_tokens,
        n_ctx: settings.n_ctx,
        template: request.template.clone(),
        template_date: TEMPLATE_DATE.into(),
        chats: exchanges(&request.prompts, prompts, replies),
    })
}

fn exchanges(prompts: &[String], rendered: Vec<Prompt>, replies: Vec<GeneratedAnswer>) -> Vec<ChatExchange> {
    let unanswered = |prompt: &String| ChatExchange {
        prompt: prompt.clone(),
        rendered: String::new(),
        rendered_tokens: 0,
        contains_prompt: false,
        reference: None,
        variant: None,
        first_divergence: None,
    };
    let mut chats: Vec<ChatExchange> = prompts.iter().map(unanswered).collect();
    for prompt in rendered {
        if let Some(chat) = chats.get_mut(prompt.chat) {
            chat.contains_prompt = prompt.text.contains(chat.prompt.trim());
            (chat.rendered, chat.rendered_tokens) = (prompt.text, prompt.n_tokens);
        }
    }
    for said in replies {
        if let Some(chat) = chats.get_mut(said.chat) {
            let reply = ChatReply { text: said.text, tokens: said.tokens, ended: said.ended };
            *(if said.is_variant { &mut chat.variant } else { &mut chat.reference }) = Some(reply);
        }
    }
    for chat in &mut chats {
        if let (Some(reference), Some(variant)) = (&chat.reference, &chat.variant) {
            chat.first_divergence = first_divergence(&reference.tokens, &variant.tokens);
        }
    }
    chats
}
