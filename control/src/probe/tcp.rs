//! `tcpSocket`: a connection that is accepted is a success.

use std::time::Duration;

use crate::client::{Client, Target};

pub(super) async fn check(client: &Client, target: Target, deadline: Duration) -> Result<(), String> {
    client.connect(target, deadline).await.map_err(|error| error.to_string())
}
