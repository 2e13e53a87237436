//! What an engine around another one passes on as it is.

/// Writes methods of [`eval::Engine`] that call the same method of an inner engine. The type has that engine in a field,
/// which is named first, and the groups of methods after it: `forward_engine!(engine: facts, tokens)`.
///
/// The caller's crate has `eval` among its dependencies.
///
/// | group | methods |
/// |---|---|
/// | `facts` | what is loaded, how many windows it takes side by side, what text it writes |
/// | `tokens` | text to tokens |
/// | `weights` | reading, swapping and restoring a weight |
/// | `uses` | the same for one use of a weight |
/// | `looks` | what it watches and traces inside a pass |
/// | `memory` | how much memory it needs |
#[macro_export]
macro_rules! forward_engine {
    ($engine:ident: $($group:ident),+) => {
        $($crate::forward_engine!(@$group $engine);)+
    };
    (@facts $engine:ident) => {
        fn info(&self) -> &eval::EngineInfo {
            self.$engine.info()
        }

        fn piece_len(&self, token: eval::Token) -> usize {
            self.$engine.piece_len(token)
        }

        fn piece(&self, token: eval::Token) -> Vec<u8> {
            self.$engine.piece(token)
        }

        fn is_end(&self, token: eval::Token) -> bool {
            self.$engine.is_end(token)
        }

        fn chat_prompt(&self, messages: &[eval::ChatMessage]) -> Result<Vec<eval::Token>, eval::EngineError> {
            self.$engine.chat_prompt(messages)
        }

        fn generate(
            &mut self,
            prompt: &[eval::Token],
            hooks: &[eval::Hook<'_>],
            next: &mut dyn FnMut(&[f32]) -> Option<eval::Token>,
        ) -> Result<(), eval::EngineError> {
            self.$engine.generate(prompt, hooks, next)
        }

        fn weights(&self) -> &[eval::WeightInfo] {
            self.$engine.weights()
        }

        fn nodes(&self) -> &[eval::NodeInfo] {
            self.$engine.nodes()
        }

        fn find_node(&self, name: &str) -> Result<(), eval::EngineError> {
            self.$engine.find_node(name)
        }

        fn n_parallel(&self) -> usize {
            self.$engine.n_parallel()
        }

        fn limit_parallel(&mut self, n: usize) {
            self.$engine.limit_parallel(n);
        }
    };
    (@tokens $engine:ident) => {
        fn tokenize(&self, text: &str) -> Result<Vec<eval::Token>, eval::EngineError> {
            self.$engine.tokenize(text)
        }
    };
    (@weights $engine:ident) => {
        fn read_weight(&self, name: &str) -> Result<(String, Vec<u8>), eval::EngineError> {
            self.$engine.read_weight(name)
        }

        fn swap_weight(
            &mut self,
            name: &str,
            ty: &str,
            bytes: std::sync::Arc<Vec<u8>>,
        ) -> Result<(), eval::EngineError> {
            self.$engine.swap_weight(name, ty, bytes)
        }

        fn restore_weight(&mut self, name: &str) -> Result<(), eval::EngineError> {
            self.$engine.restore_weight(name)
        }
    };
    (@uses $engine:ident) => {
        fn swap_use(
            &mut self,
            name: &str,
            used_as: eval::WeightUse,
            ty: &str,
            bytes: std::sync::Arc<Vec<u8>>,
        ) -> Result<(), eval::EngineError> {
            self.$engine.swap_use(name, used_as, ty, bytes)
        }

        fn read_use(&self, name: &str, used_as: eval::WeightUse) -> Result<(String, Vec<u8>), eval::EngineError> {
            self.$engine.read_use(name, used_as)
        }

        fn restore_use(&mut self, name: &str, used_as: eval::WeightUse) -> Result<(), eval::EngineError> {
            self.$engine.restore_use(name, used_as)
        }
    };
    (@looks $engine:ident) => {
        fn trace(&mut self, on: bool) {
            self.$engine.trace(on);
        }

        fn traced(&self, slot: usize) -> Vec<eval::LayerError> {
            self.$engine.traced(slot)
        }

        fn watch(&mut self, tensors: &[String]) {
            self.$engine.watch(tensors);
        }

        fn watched(&self, slot: usize) -> Vec<eval::WatchedActivation> {
            self.$engine.watched(slot)
        }

        fn first_non_finite(
            &mut self,
            window: &[eval::Token],
            hooks: &[eval::Hook<'_>],
        ) -> Result<Option<eval::NonFiniteNode>, eval::EngineError> {
            self.$engine.first_non_finite(window, hooks)
        }
    };
    (@memory $engine:ident) => {
        fn memory(&mut self) -> Result<eval::EngineMemory, eval::EngineError> {
            self.$engine.memory()
        }
    };
}
