//! The task that owns the core: events in, outputs to those who do them, answers back to those who asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use zonemesh_api::Caller;
use zonemesh_mesh::core::{Core, Input, Now, Output, Receipt, Reply, RequestId};
use zonemesh_zone::{Author, By};

use super::clock;
use super::jobs::Jobs;
use super::rest::Rest;
use crate::allocator;

/// Makes a request of the core as it is, or the answer at once.
type Make = Box<dyn FnOnce(&Core, RequestId) -> Result<Input, Reply> + Send>;

/// Takes something out of the core.
type Look = Box<dyn FnOnce(&Core, Now) + Send>;

/// What other tasks send to the core.
pub(crate) enum Command {
    /// An event.
    Input(Input),
    /// A request, made of the core as it is at that moment, who makes it, and where its answer goes.
    Request(Make, Option<Author>, oneshot::Sender<Reply>),
    /// Wait until a serial is served everywhere, or as long as this.
    Wait(
        zonemesh_zone::Name,
        zonemesh_zone::Serial,
        Duration,
        oneshot::Sender<Receipt>,
    ),
    /// Look at the core.
    Look(Look),
    /// Take another configuration.
    Configure(Box<zonemesh_mesh::core::Settings>, oneshot::Sender<()>),
    /// Nobody waits for this any longer.
    GiveUp(RequestId),
}

/// The way to the core. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CoreHandle {
    commands: mpsc::UnboundedSender<Command>,
}

/// The core has stopped: the site is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the site is shutting down")]
pub(crate) struct Stopped;

impl CoreHandle {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Command>) {
        // Not bounded by number, but by who sends: each connection, job and request has at most a few under way.
        let (commands, receiver) = mpsc::unbounded_channel();
        (Self { commands }, receiver)
    }

    /// Sends an event. After the core has stopped it is dropped: nobody is left to act on it.
    pub(crate) fn send(&self, input: Input) {
        if self.commands.send(Command::Input(input)).is_err() {
            tracing::debug!("an event came after the core had stopped");
        }
    }

    /// Makes a request of the core as it is, and waits for the answer. It is made by whoever asks at the control socket, if this is
    /// done for one.
    pub(crate) async fn request(
        &self,
        make: impl FnOnce(&Core, RequestId) -> Result<Input, Reply> + Send + 'static,
    ) -> Result<Reply, Stopped> {
        let operator = Caller::current().map(|caller| Author {
            by: By::Operator,
            who: format!("uid {}", caller.uid),
            from: None,
        });
        self.request_by(operator, make).await
    }

    /// The same by somebody else.
    pub(crate) async fn request_by(
        &self,
        author: Option<Author>,
        make: impl FnOnce(&Core, RequestId) -> Result<Input, Reply> + Send + 'static,
    ) -> Result<Reply, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.commands
            .send(Command::Request(Box::new(make), author, sender))
            .map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Waits until a serial is served everywhere, at most as long as this.
    pub(crate) async fn wait(
        &self,
        apex: zonemesh_zone::Name,
        serial: zonemesh_zone::Serial,
        most: Duration,
    ) -> Result<Receipt, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.commands
            .send(Command::Wait(apex, serial, most, sender))
            .map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Looks at the core.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (sender, receiver) = oneshot::channel();
        let look = Box::new(move |core: &Core, now: Now| {
            // Whoever asked may have gone; then nobody needs the answer.
            let _ = sender.send(look(core, now));
        });
        self.commands
            .send(Command::Look(look))
            .map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }

    /// Looks at the core when it comes to it, and waits for nothing.
    pub(crate) fn glance(&self, look: impl FnOnce(&Core, Now) + Send + 'static) {
        // After the core has stopped there is nothing to look at.
        let _ = self.commands.send(Command::Look(Box::new(look)));
    }

    /// Gives the core another configuration.
    pub(crate) async fn configure(
        &self,
        settings: zonemesh_mesh::core::Settings,
    ) -> Result<(), Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.commands
            .send(Command::Configure(Box::new(settings), sender))
            .map_err(|_| Stopped)?;
        receiver.await.map_err(|_| Stopped)
    }
}

/// The core, and those who wait.
pub(crate) struct Driver {
    core: Core,
    jobs: Arc<Jobs>,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    receipts: HashMap<RequestId, (oneshot::Sender<Receipt>, Receipt)>,
    next_request: RequestId,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: CoreHandle,
    rest: Rest,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        jobs: Arc<Jobs>,
        handle: CoreHandle,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            core,
            jobs,
            replies: HashMap::new(),
            receipts: HashMap::new(),
            next_request: 1,
            commands,
            handle,
            rest: Rest::default(),
        }
    }

    /// Runs until all handles are gone.
    pub(crate) async fn run(mut self, first: Vec<Output>) {
        self.perform(first);
        loop {
            let due = self.core.next_due();
            let sleep = clock::until(due).min(Duration::from_secs(3600));
            let look = self.rest.look();
            let outputs = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return,
                },
                () = tokio::time::sleep_until(Instant::now() + sleep) => self.core.handle(Input::Tick, clock::now()),
                () = tokio::time::sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                    if self.rest.has_come(Instant::now()) {
                        // Takes milliseconds, in which whoever wants memory waits.
                        tokio::task::spawn_blocking(allocator::give_back);
                    }
                    Vec::new()
                }
            };
            self.perform(outputs);
        }
    }

    fn take(&mut self, command: Command) -> Vec<Output> {
        let now = clock::now();
        match command {
            Command::Input(input) => self.core.handle(input, now),
            Command::Request(make, author, sender) => {
                let request = self.next_request();
                let made =
                    make(&self.core, request).and_then(|input| match self.jobs.refuses_changes() {
                        Some(reason) => Err(Reply::Refused {
                            rcode: zonemesh_zone::Rcode::SERVFAIL,
                            reason,
                        }),
                        None => Ok(input),
                    });
                match made {
                    Ok(input) => {
                        self.replies.insert(request, sender);
                        match author {
                            Some(author) => self.core.handle_by(request, author, input, now),
                            None => self.core.handle(input, now),
                        }
                    }
                    Err(reply) => {
                        // Whoever asked may have gone; then nobody needs the answer.
                        let _ = sender.send(reply);
                        Vec::new()
                    }
                }
            }
            Command::Wait(apex, serial, most, sender) => {
                let request = self.next_request();
                let empty = Receipt {
                    apex: apex.clone(),
                    serial,
                    sites: Vec::new(),
                    complete: false,
                };
                self.receipts.insert(request, (sender, empty));
                let handle = self.handle.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(most).await;
                    // The core may have stopped meanwhile; then so has the one who waits.
                    let _ = handle.commands.send(Command::GiveUp(request));
                });
                self.core.handle(
                    Input::Wait {
                        request,
                        apex,
                        serial,
                    },
                    now,
                )
            }
            Command::GiveUp(request) => {
                if let Some((sender, last)) = self.receipts.remove(&request) {
                    let receipt = self.core.receipt_now(request, now).unwrap_or(last);
                    let _ = sender.send(receipt);
                }
                self.core.handle(Input::Forget { request }, now)
            }
            Command::Look(look) => {
                look(&self.core, now);
                Vec::new()
            }
            Command::Configure(settings, done) => {
                let outputs = self.core.configure(*settings, now);
                // Whoever asked may have gone; the configuration is taken all the same.
                let _ = done.send(());
                outputs
            }
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        self.next_request
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        self.rest.did(&outputs, Instant::now());
        for output in outputs {
            match output {
                Output::Reply {
                    request,
                    reply: Reply::Receipt(receipt),
                } => {
                    if let Some((sender, _)) = self.receipts.remove(&request) {
                        // Whoever asked may have gone; then nobody needs the answer.
                        let _ = sender.send(receipt);
                    }
                }
                Output::Reply { request, reply } => {
                    if let Some(sender) = self.replies.remove(&request) {
                        let _ = sender.send(reply);
                    }
                }
                other => self.jobs.perform(other),
            }
        }
        self.jobs.set_inventory(self.core.inventory());
        self.jobs.set_ready(self.core.ready());
    }
}
