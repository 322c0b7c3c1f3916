//! Who is at the other end of the control socket, by the word of the kernel.

use std::future::Future;

/// Whoever has made a request over the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user of its process.
    pub uid: u32,
}

tokio::task_local! {
    static CALLER: Caller;
}

impl Caller {
    /// Who has made the request that is being answered in this task; none outside of one, or when the kernel did not say.
    pub fn current() -> Option<Self> {
        CALLER.try_with(|caller| *caller).ok()
    }

    /// Does what a request wants, as asked for by this caller.
    pub async fn asks<F: Future>(self, answer: F) -> F::Output {
        CALLER.scope(self, answer).await
    }
}
