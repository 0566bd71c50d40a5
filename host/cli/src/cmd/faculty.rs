//! `animus faculty`: the faculties, and where work goes.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use animus_core::{
    Error,
    faculties::{Faculties, Stands},
    faculty::{FacultyConfig, Isolation},
    manifest::Manifest,
    store::Plugin,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    fault::{Exit, Fault, Result},
    out::{self, BOLD, DIM, GOOD, Table, WARN, paint, plain},
    serve::{self, stands},
};

#[derive(Args)]
pub(crate) struct Faculty {
    #[command(subcommand)]
    command: Command,
    /// The folder whose project's faculties count [default: the current folder]
    #[arg(long, global = true, value_name = "FOLDER")]
    workspace: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// List the faculties: those that are configured, and plugins that export one
    List,
    /// Show one with its configuration
    Show {
        /// The faculty, or a kind of work
        name: String,
    },
}

/// A faculty, as programs read it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Faculty)]
pub(crate) struct Described {
    name: String,
    description: String,
    /// The plugin that it stands on.
    plugin: String,
    /// Kinds of work that come to it beside its name.
    accepts: Vec<String>,
    concurrent: bool,
    max_concurrent: Option<u32>,
    /// `none` or `worktree`.
    isolation: String,
    max_attempts: u32,
    /// The file that configures it; none where a plugin runs with the defaults.
    source: Option<String>,
    /// `serving`, `awaiting-grant`, `no-faculty` or `missing`.
    plugin_state: String,
    /// Why work for it waits, where it does.
    unusable: Option<String>,
}

#[derive(Serialize)]
struct List {
    faculties: Vec<Described>,
}

#[derive(Serialize)]
struct Shown {
    faculty: Described,
    config: FacultyConfig,
}

/// All faculties, by name.
pub(crate) fn described(faculties: &Faculties, plugins: &[Plugin]) -> Vec<Described> {
    let configured = faculties.configured().map(|faculty| faculty.name.clone());
    let exported = plugins.iter().filter(|plugin| plugin.is_faculty).map(|plugin| plugin.name.to_string());
    let names: BTreeSet<String> = configured.chain(exported).collect();
    names.iter().map(|name| describe(faculties, plugins, name)).collect()
}

fn config_of(faculties: &Faculties, name: &str) -> Arc<FacultyConfig> {
    faculties.get(name).map(|faculty| faculty.config.clone()).unwrap_or_default()
}

fn describe(faculties: &Faculties, plugins: &[Plugin], name: &str) -> Described {
    let route = serve::route(faculties, plugins, name);
    // As it runs, which a project may not have the whole say about.
    let config = match &route {
        Ok(route) if route.faculty == name => route.config.clone(),
        _ => config_of(faculties, name),
    };
    let plugin = config.plugin.as_ref().map_or_else(|| name.to_owned(), ToString::to_string);
    let plugin_state = match stands(plugins, &plugin) {
        Stands::Serving => "serving",
        Stands::AwaitingGrant => "awaiting-grant",
        Stands::NoFaculty => "no-faculty",
        Stands::Missing => "missing",
    };
    Described {
        name: name.to_owned(),
        description: if config.description.is_empty() { said_of(plugins, &plugin) } else { config.description.clone() },
        plugin,
        accepts: config.accepts.clone(),
        concurrent: config.concurrent,
        max_concurrent: config.max_concurrent,
        isolation: match config.isolation {
            Isolation::None => "none".into(),
            Isolation::Worktree => "worktree".into(),
        },
        max_attempts: config.recover.max_attempts,
        source: faculties.get(name).map(|faculty| faculty.source.clone()),
        plugin_state: plugin_state.into(),
        unusable: route.err().map(|why| why.to_string()),
    }
}

/// What the manifest of a plugin says that it is; nothing where there is no such plugin.
fn said_of(plugins: &[Plugin], name: &str) -> String {
    let plugin = plugins.iter().find(|plugin| plugin.name.as_str() == name);
    let manifest = plugin.and_then(|plugin| Manifest::parse(&plugin.manifest).ok());
    manifest.map(|manifest| manifest.description).unwrap_or_default()
}

impl Faculty {
    pub(crate) async fn run(self, cx: &Context) -> Result<Exit> {
        let workspace = cx.workspace(self.workspace.as_deref())?;
        let faculties = serve::faculties(cx, &workspace)?;
        let plugins = cx.seeded().await?.plugins().await?;
        match self.command {
            Command::List => {
                cx.out.show(&List { faculties: described(&faculties, &plugins) }, |list| table(&list.faculties));
            }
            Command::Show { name } => {
                let all = described(&faculties, &plugins);
                let named = |faculty: &&Described| faculty.name == name;
                let accepting = |faculty: &&Described| faculty.accepts.contains(&name);
                let Some(found) = all.iter().find(named).or_else(|| all.iter().find(accepting)) else {
                    let why = Error::NotFound(format!("there is no faculty '{}'", name.escape_debug()));
                    return Err(Fault::from(why).advise("see which there are: animus faculty list"));
                };
                let shown =
                    Shown { config: FacultyConfig::clone(&config_of(&faculties, &found.name)), faculty: found.clone() };
                cx.out.show(&shown, text);
            }
        }
        Ok(Exit::Done)
    }
}

fn table(faculties: &[Described]) -> String {
    let mut table = Table::new(["FACULTY", "PLUGIN", "STATE", "ACCEPTS", "AT ONCE", "ATTEMPTS", "SOURCE"]);
    for faculty in faculties {
        let (style, state) = match &faculty.unusable {
            None => (GOOD, faculty.plugin_state.clone()),
            Some(why) => (WARN, why.clone()),
        };
        let at_once = match (faculty.concurrent, faculty.max_concurrent) {
            (false, _) => "1".to_owned(),
            (true, Some(most)) => most.to_string(),
            (true, None) => "as the host".to_owned(),
        };
        table.row([
            (BOLD, faculty.name.clone()),
            plain(&faculty.plugin),
            (style, out::short(&state, 60)),
            plain(faculty.accepts.join(", ")),
            plain(at_once),
            plain(faculty.max_attempts),
            (DIM, faculty.source.clone().unwrap_or_else(|| "defaults".into())),
        ]);
    }
    table.to_string()
}

fn text(shown: &Shown) -> String {
    let Shown { faculty, config } = shown;
    let mut text = format!("{} {}\n", paint(BOLD, &faculty.name), out::short(&faculty.description, 100));
    let source = faculty.source.as_deref().unwrap_or("defaults");
    text.push_str(&format!("{}\n", paint(DIM, format_args!("plugin {} · {}", faculty.plugin, out::safe(source)))));
    if let Some(why) = &faculty.unusable {
        text.push_str(&format!("{} {}\n", paint(WARN, "unusable:"), out::safe(why)));
    }
    text.push('\n');
    text.push_str(&out::safe(&toml::to_string(config).unwrap_or_default()));
    text
}
