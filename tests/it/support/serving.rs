//! A sandbox served over HTTP for as long as a test needs it.

use ssm_role_controller::{names::AccountId, sandbox::Sandbox};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) struct Serving {
    pub(crate) sandbox: Sandbox,
    pub(crate) account: AccountId,
    pub(crate) port: u16,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Serving {
    pub(crate) async fn start(account: &str) -> Self {
        let account: AccountId = account.parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let server = tokio::spawn(sandbox.clone().serve(listener, stop.clone()));
        Self { sandbox, account, port, stop, server }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops the server and waits until it is gone.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.server).await.unwrap().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
