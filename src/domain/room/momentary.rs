//! State that most rooms have none of at a time: typing indicators, a call that is not in the default mode, and
//! messages that grow. A room without
//! any takes no memory for it.

use crate::domain::connection_mode::Call;
use crate::domain::streams::Streams;
use crate::domain::typing::Typing;

/// The state, if there is any.
#[derive(Default)]
pub(in crate::domain) struct Momentary(Option<Box<MomentaryState>>);

#[derive(Default)]
pub(in crate::domain) struct MomentaryState {
    pub(in crate::domain) typing: Typing,
    pub(in crate::domain) call: Call,
    pub(in crate::domain) streams: Streams,
}

impl Momentary {
    pub(in crate::domain) fn get(&self) -> Option<&MomentaryState> {
        self.0.as_deref()
    }

    /// The state, for changes after which it is still needed.
    pub(in crate::domain) fn get_mut(&mut self) -> Option<&mut MomentaryState> {
        self.0.as_deref_mut()
    }

    /// Changes the state, and frees it if it is not needed any more.
    pub(in crate::domain) fn change<T>(&mut self, change: impl FnOnce(&mut MomentaryState) -> T) -> T {
        let state = self.0.get_or_insert_default();
        let result = change(state);
        if state.typing.is_idle() && state.call.is_idle() && state.streams.is_idle() {
            self.0 = None;
        }
        result
    }

    pub(in crate::domain) fn check_invariants(&self) {
        if let Some(state) = self.get() {
            let is_idle = state.typing.is_idle() && state.call.is_idle() && state.streams.is_idle();
            assert!(!is_idle, "room: state that is not needed is not kept");
            state.streams.check_invariants();
            state.typing.check_invariants();
            state.call.check_invariants();
        }
    }
}
