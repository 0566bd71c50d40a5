//! `animus secret`: values that the host uses and nobody reads back.

use std::io::{self, IsTerminal as _, Read as _};

use animus_core::store::SecretValue;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::OPERATOR;
use crate::{
    context::Context,
    fault::{During as _, Exit, Fault, Result},
    out::{self, Table, plain},
};

/// Longer values are no keys; most likely the wrong file was piped in.
const LONGEST: u64 = 64 << 10;

#[derive(Args)]
pub(crate) struct Secret {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Store or replace a secret; its value comes from standard input or a hidden prompt
    Set {
        /// Its handle: what grants and the configuration call it by
        handle: String,
    },
    /// List the handles; values are never shown
    List,
    /// Remove a secret
    Remove {
        /// Its handle
        handle: String,
    },
}

#[derive(Serialize)]
struct Set {
    set: String,
}

#[derive(Serialize)]
struct List {
    secrets: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    handle: String,
    set_ms: u64,
}

#[derive(Serialize)]
struct Removed {
    removed: String,
}

impl Secret {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let tenant = cx.tenant().await?;
        match self.command {
            Command::Set { handle } => {
                tenant.secret_set(OPERATOR, &handle, value(&handle)?).await?;
                cx.out.show(&Set { set: handle }, |done| format!("secret '{}' is set", done.set));
            }
            Command::List => {
                let secrets = tenant.secrets().await?;
                let secrets = secrets.into_iter().map(|(handle, set_ms)| Listed { handle, set_ms }).collect();
                cx.out.show(&List { secrets }, table);
            }
            Command::Remove { handle } => {
                tenant.secret_remove(OPERATOR, &handle).await?;
                cx.out.show(&Removed { removed: handle }, |done| format!("secret '{}' is removed", done.removed));
            }
        }
        Ok(Exit::Done)
    }
}

fn value(handle: &str) -> Result<SecretValue> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("value of '{handle}' (hidden): ")).during(|| "read the value".into())?
    } else {
        let mut text = String::new();
        io::stdin().take(LONGEST + 1).read_to_string(&mut text).during(|| "read the value".into())?;
        text
    };
    // Editors and `echo` add a line end that no key has.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Fault::usage("the value is empty").advise(format!("animus secret set {handle} < FILE")));
    }
    if text.len() as u64 > LONGEST {
        return Err(Fault::usage(format!("the value is longer than {LONGEST} bytes")));
    }
    Ok(SecretValue::new(text))
}

fn table(list: &List) -> String {
    if list.secrets.is_empty() {
        return "no secrets; to add one: animus secret set HANDLE".to_owned();
    }
    let mut table = Table::new(["HANDLE", "SET"]);
    for secret in &list.secrets {
        table.row([plain(&secret.handle), plain(out::time(secret.set_ms))]);
    }
    table.to_string()
}
