//! Lines of log, kept for a test to read. What must stay true: nothing that was written is lost.

use std::{
    io::{Result, Write},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tracing::{
    instrument::{WithDispatch, WithSubscriber},
    subscriber::DefaultGuard,
};

use super::{LogFormat, subscriber};

/// Keeps what is written; its clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Keeps the events of this thread as lines of JSON, until the guard goes.
    pub(crate) fn on_this_thread() -> (Self, DefaultGuard) {
        let captured = Self::default();
        let writer = captured.clone();
        let subscriber = subscriber(LogFormat::Json, false, move || writer.clone());
        (captured, tracing::subscriber::set_default(subscriber))
    }

    /// Keeps the events of one task alone.
    pub(crate) fn hears<F: Future>(&self, task: F) -> WithDispatch<F> {
        let writer = self.clone();
        task.with_subscriber(subscriber(LogFormat::Json, false, move || writer.clone()))
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.0.lock().unwrap().clone();
        String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
