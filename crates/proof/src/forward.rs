//! What an engine around another one passes on as it is: everything but writes of weights, tokens and passes.

/// Those methods of [`eval::Engine`], for a type that has the inner engine in a field of that name.
macro_rules! forward_engine {
    ($engine:ident) => {
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

        fn nodes(&self) -> &[eval::NodeInfo] {
            self.$engine.nodes()
        }

        fn limit_parallel(&mut self, n: usize) {
            self.$engine.limit_parallel(n);
        }

        fn memory(&mut self) -> Result<eval::EngineMemory, eval::EngineError> {
            self.$engine.memory()
        }

        fn trace(&mut self, on: bool) {
            self.$engine.trace(on);
        }

        fn traced(&self, slot: usize) -> Vec<eval::LayerError> {
            self.$engine.traced(slot)
        }

        fn first_non_finite(
            &mut self,
            window: &[eval::Token],
            hooks: &[eval::Hook<'_>],
        ) -> Result<Option<eval::NonFiniteNode>, eval::EngineError> {
            self.$engine.first_non_finite(window, hooks)
        }

        fn n_parallel(&self) -> usize {
            self.$engine.n_parallel()
        }

        fn watch(&mut self, tensors: &[String]) {
            self.$engine.watch(tensors);
        }

        fn watched(&self, slot: usize) -> Vec<eval::WatchedActivation> {
            self.$engine.watched(slot)
        }
    };
}

pub(crate) use forward_engine;
