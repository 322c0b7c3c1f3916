//! The one error that crosses the control socket, with its HTTP status and its exit code.

use serde::{Deserialize, Serialize};

/// A request that was not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "kebab-case")]
pub struct ApiError {
    /// What sort of failure it is; decides the HTTP status and the exit code.
    pub kind: ErrorKind,
    /// What failed, where, and what was expected.
    pub message: String,
    /// What to do next, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What sort of failure an [`ApiError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request is malformed or names something impossible; nothing was changed.
    Invalid,
    /// The zone, site, record or plan does not exist.
    NotFound,
    /// It exists already, or changed in between.
    Conflict,
    /// This site may not do it, such as changing a zone whose primary is elsewhere.
    Refused,
    /// The brake holds the change until it is approved.
    Held,
    /// The site, or the peer it needed for this, cannot be reached or is not ready.
    Unavailable,
    /// The site did not answer in time; whether the request was done is unknown.
    Timeout,
    /// A failure of the site's own: disk, memory, a bug.
    Internal,
}

impl ApiError {
    /// Makes an error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes an error of kind [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an error of kind [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Makes an error of kind [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Makes an error of kind [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Makes an error of kind [`ErrorKind::Held`].
    pub fn held(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Held, message)
    }

    /// Makes an error of kind [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Makes an error of kind [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl ErrorKind {
    /// The HTTP status that carries this kind.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Refused => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Held => 423,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The kind that a bare HTTP status stands for, when the body is not one of ours.
    pub fn from_status(status: u16) -> Self {
        match status {
            403 => Self::Refused,
            404 => Self::NotFound,
            409 => Self::Conflict,
            423 => Self::Held,
            503 => Self::Unavailable,
            504 | 408 => Self::Timeout,
            400..=499 => Self::Invalid,
            _ => Self::Internal,
        }
    }

    /// The exit code of the command that met this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unavailable | Self::Timeout => exit::UNREACHABLE,
            Self::Held => exit::HELD,
            _ => exit::FAILED,
        }
    }
}

/// The exit codes of every `zonemesh` command but `status`.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed; nothing was changed unless the message says so.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// The site cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// Done, but not at every site yet.
    pub const NOT_EVERYWHERE: u8 = 4;
    /// Held by the brake until approved.
    pub const HELD: u8 = 5;
}
