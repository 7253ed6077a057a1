//! kube-rs as a program: does to the cluster of KUBECONFIG what its first argument says, and prints what came.

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess, DeleteParams, ListParams, LogParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let pods: Api<Pod> = Api::default_namespaced(Client::try_default().await?);
    match args.as_slice() {
        ["list"] => {
            for pod in pods.list(&ListParams::default()).await? {
                println!("{}", pod.name_any());
            }
        }
        ["watch"] => {
            let mut events = std::pin::pin!(pods.watch(&WatchParams::default().timeout(1), "0").await?);
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(pod) = event {
                    println!("added {}", pod.name_any());
                }
            }
        }
        ["delete", pod] => {
            pods.delete(pod, &DeleteParams::default().grace_period(0)).await?;
        }
        ["log", pod] => {
            let params = LogParams { follow: true, ..LogParams::default() };
            let mut lines = pods.log_stream(pod, &params).await?.lines();
            while let Some(line) = lines.try_next().await? {
                println!("{line}");
            }
        }
        ["exec", pod, container, command @ ..] => {
            let params = AttachParams::default().container(*container);
            output(pods.exec(pod, command.iter().copied(), &params).await?, None).await?;
        }
        ["exec-stdin", pod, container, input, command @ ..] => {
            let params = AttachParams::default().container(*container).stdin(true);
            output(pods.exec(pod, command.iter().copied(), &params).await?, Some(input)).await?;
        }
        ["attach", pod, container, input] => {
            let params = AttachParams::default().container(*container).stdin(true);
            let mut process = pods.attach(pod, &params).await?;
            let mut stdin = process.stdin().ok_or("no stdin")?;
            stdin.write_all(input.as_bytes()).await?;
            let mut echo = vec![0; input.len()];
            process.stdout().ok_or("no stdout")?.read_exact(&mut echo).await?;
            print!("{}", String::from_utf8(echo)?);
            process.abort();
        }
        ["forward", pod, port, input] => {
            let port: u16 = port.parse()?;
            let mut forwarder = pods.portforward(pod, &[port]).await?;
            let mut stream = forwarder.take_stream(port).ok_or("no stream")?;
            stream.write_all(input.as_bytes()).await?;
            let mut echo = vec![0; input.len()];
            stream.read_exact(&mut echo).await?;
            print!("{}", String::from_utf8(echo)?);
        }
        ["forward-error", pod, port] => {
            let port: u16 = port.parse()?;
            let mut forwarder = pods.portforward(pod, &[port]).await?;
            let error = forwarder.take_error(port).ok_or("no error")?;
            let _stream = forwarder.take_stream(port);
            println!("{}", error.await.unwrap_or_default());
        }
        _ => return Err("what to do?".into()),
    }
    Ok(())
}

/// Prints what a command says, and how it ended.
async fn output(mut process: AttachedProcess, input: Option<&str>) -> Result<()> {
    let status = process.take_status().ok_or("no status")?;
    let mut stdout = process.stdout().ok_or("no stdout")?;
    let mut stderr = process.stderr().ok_or("no stderr")?;
    if let Some(input) = input {
        let mut stdin = process.stdin().ok_or("no stdin")?;
        stdin.write_all(input.as_bytes()).await?;
        stdin.shutdown().await?;
    }
    let (mut out, mut err) = (String::new(), String::new());
    tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err))?;
    print!("{out}");
    eprint!("{err}");
    let status = status.await.ok_or("no status came")?;
    println!("{} {}", status.status.unwrap_or_default(), status.message.unwrap_or_default());
    Ok(())
}
