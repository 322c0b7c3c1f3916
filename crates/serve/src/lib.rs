//! Answering queries: lookup, answers, sockets.
