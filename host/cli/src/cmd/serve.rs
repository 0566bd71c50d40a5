//! `animus serve`: takes work from the queue, and offers it over HTTP.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use animus_agent::{control::Until, events::Hub};
use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    interrupt,
    out::{self, BOLD, paint},
    serve::{
        self, Wishes,
        api::{self, Served},
        auth::Auth,
        drops, http,
    },
};

/// Where it listens, where nobody says.
const BIND: ([u8; 4], u16) = ([127, 0, 0, 1], 8_420);

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the HTTP interface listens; port 0 takes a free one [default: 127.0.0.1:8420]
    #[arg(long, env = "ANIMUS_BIND", value_name = "ADDRESS", value_parser = address)]
    bind: Option<SocketAddr>,
    /// At most so many foci at once [default: 4]
    #[arg(long, env = "ANIMUS_MAX_CONCURRENT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_concurrent: Option<u32>,
    /// Only this faculty, or kind of work; may be repeated
    #[arg(long = "faculty", value_name = "NAME")]
    faculties: Vec<String>,
    /// Offer the HTTP interface only, and take no work
    #[arg(long, conflicts_with_all = ["once", "faculties", "max_concurrent"])]
    no_work: bool,
    /// Work until the queue holds nothing for this host, without an HTTP interface, and exit
    #[arg(long, conflicts_with = "bind")]
    once: bool,
    /// The folder that work without a workspace of its own has [default: the current folder]
    #[arg(long, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
    /// The file with the token that requests carry; made when it is missing
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Write the OpenAPI document of the HTTP interface, and exit
    #[arg(long)]
    openapi: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.trim_start_matches(':').parse::<u16>().unwrap_or(BIND.1);
        format!("an address and a port are needed, such as 127.0.0.1:{port}")
    })
}

/// What is written when it listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    url: String,
    token_file: Option<String>,
}

/// What is written at the end.
#[derive(Serialize)]
struct Ended {
    claimed: u64,
    released: u64,
}

impl Serve {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        if self.openapi {
            cx.out.line(api::document()?);
            return Ok(Exit::Done);
        }
        let stop = interrupt::listen_and_say(&cx.out, "stopping; what runs has its grace time; again to stop at once")?;
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let config = cx.config(&workspace)?;
        // What is wrong with a file of a faculty is told before anything runs.
        serve::faculties(cx, &workspace)?;
        let tenant = cx.tenant().await?;
        let hub = Hub::new(tenant.clone());
        let mut wishes = Wishes {
            max_concurrent: self.max_concurrent,
            only: self.faculties.iter().cloned().collect(),
            workspace: workspace.clone(),
            is_listed: !self.once,
            address: None,
        };
        if self.once {
            cx.seeded().await?;
            let plane = serve::plane(cx, &config, wishes, hub).await?;
            let served = plane.run(Until::Empty, &stop).await?;
            let ended = Ended { claimed: served.claimed, released: served.released };
            cx.out.show(&ended, |ended| format!("{} items were worked on", ended.claimed));
            return Ok(if stop.is_cancelled() { Exit::Cancelled } else { Exit::Done });
        }

        let bind = self.bind.or(config.serve.bind).unwrap_or_else(|| BIND.into());
        let auth = Auth::new(bind, self.token_file.or_else(|| config.serve.token_file.clone()), &config.serve.hosts)?;
        let listener = TcpListener::bind(bind).await.map_err(|e| {
            Fault::failed(format!("could not listen on {bind}: {e}"))
                .advise("take another one: animus serve --bind 127.0.0.1:0")
        })?;
        let address = listener.local_addr().during(|| "learn the address".into())?;
        wishes.address = Some(address.to_string());
        let plane = serve::plane(cx, &config, wishes, hub.clone()).await?;
        let token_file = auth.file().map(|path| path.display().to_string());
        let served = Arc::new(Served::new(
            cx.clone(),
            tenant,
            hub,
            (!self.no_work).then(|| plane.clone()),
            workspace,
            stop.clone(),
        ));
        let doors = http::Doors::new(&config.serve);
        let serving = tokio::spawn(http::serve(listener, api::router(served.clone(), auth), doors.clone()));
        cx.out.show(&Listening { address: address.to_string(), url: format!("http://{address}"), token_file }, |it| {
            let token = it.token_file.as_ref().map(|file| format!("; the token is in {file}")).unwrap_or_default();
            format!("listening on {}{}", paint(BOLD, &it.url), out::safe(&token))
        });

        let work = async {
            cx.seeded().await?;
            served.is_ready();
            if self.no_work {
                stop.cancelled().await;
                return Ok(animus_agent::control::Served::default());
            }
            let (ended, _) = tokio::join!(plane.run(Until::Stopped, &stop), async {
                if let Err(fault) = drops::watch(cx, &config, &stop).await {
                    tracing::error!(%fault, "the drop folder is not watched");
                }
            });
            Ok::<_, Fault>(ended?)
        };
        let ended = work.await;
        // Whatever ended it: nobody is to be answered by a server that does no work.
        stop.cancel();
        served.is_over();
        doors.close().await;
        serving.await.during(|| "stop the HTTP interface".into())?;
        let ended = ended?;
        cx.out.show(&Ended { claimed: ended.claimed, released: ended.released }, |ended| {
            format!("stopped; {} foci were run, {} of them let go of for other hosts", ended.claimed, ended.released)
        });
        Ok(Exit::Done)
    }
}
