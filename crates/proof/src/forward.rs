//! The traits of an engine that one around it passes on as they are.

/// Implements whole traits of [`eval::Engine`] for a type that has the inner engine in its field `engine`:
/// `forward_engine!(Tapped: Tokens, Weights)`.
///
/// The caller's crate has `eval` among its dependencies.
#[macro_export]
macro_rules! forward_engine {
    ($outer:ty: $($part:ident),+) => {
        $($crate::forward_engine!(@$part $outer);)+
    };
    (@Tokens $outer:ty) => {
        impl eval::Tokens for $outer {
            fn tokenize(&self, text: &str, special: bool) -> Result<Vec<eval::Token>, eval::EngineError> {
                self.engine.tokenize(text, special)
            }

            fn piece(&self, token: eval::Token) -> Result<Vec<u8>, eval::EngineError> {
                self.engine.piece(token)
            }

            fn piece_len(&self, token: eval::Token) -> Result<usize, eval::EngineError> {
                self.engine.piece_len(token)
            }

            fn is_end(&self, token: eval::Token) -> bool {
                self.engine.is_end(token)
            }

            fn chat_prompt(
                &self,
                template: Option<&str>,
                messages: &[eval::ChatMessage],
            ) -> Result<eval::ChatPrompt, eval::EngineError> {
                self.engine.chat_prompt(template, messages)
            }
        }
    };
    (@Weights $outer:ty) => {
        impl eval::Weights for $outer {
            fn weights(&self) -> &[eval::WeightInfo] {
                self.engine.weights()
            }

            fn read_weight(
                &self,
                name: &str,
                used_as: Option<eval::WeightUse>,
            ) -> Result<(String, Vec<u8>), eval::EngineError> {
                self.engine.read_weight(name, used_as)
            }

            fn swap_weight(
                &mut self,
                name: &str,
                used_as: Option<eval::WeightUse>,
                ty: &str,
                bytes: std::sync::Arc<Vec<u8>>,
            ) -> Result<(), eval::EngineError> {
                self.engine.swap_weight(name, used_as, ty, bytes)
            }

            fn restore_weight(
                &mut self,
                name: &str,
                used_as: Option<eval::WeightUse>,
            ) -> Result<(), eval::EngineError> {
                self.engine.restore_weight(name, used_as)
            }
        }
    };
    (@Graph $outer:ty) => {
        impl eval::Graph for $outer {
            fn info(&self) -> &eval::EngineInfo {
                self.engine.info()
            }

            fn nodes(&self) -> &[eval::NodeInfo] {
                self.engine.nodes()
            }

            fn find_node(&self, name: &str) -> Result<(), eval::EngineError> {
                self.engine.find_node(name)
            }
        }
    };
    (@Memory $outer:ty) => {
        impl eval::Memory for $outer {
            fn memory(&mut self) -> Result<eval::EngineMemory, eval::EngineError> {
                self.engine.memory()
            }

            fn free_contexts(&mut self, n_kept: usize) {
                self.engine.free_contexts(n_kept);
            }
        }
    };
}
