//! The faculties of a host by name, and which of them a work item goes to.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::{Error, Result, faculty::FacultyConfig, id::PluginName, plugins::PluginSet};

/// A faculty that somebody configured.
#[derive(Clone, Debug)]
pub struct Faculty {
    /// Its name.
    pub name: String,
    /// How it runs.
    pub config: Arc<FacultyConfig>,
    /// The file that says so.
    pub source: String,
    /// Whether only a project says so, which comes from strangers: over a plugin that is installed it has no say about where
    /// work goes.
    pub is_project: bool,
}

/// Where a work item goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The faculty.
    pub faculty: String,
    /// How it runs. [`FacultyConfig::plugin`] is there.
    pub config: Arc<FacultyConfig>,
}

/// What is known of a plugin that a faculty may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It serves, and exports a faculty.
    Serving,
    /// It is installed, and waits for a grant.
    AwaitingGrant,
    /// It exports no faculty.
    NoFaculty,
    /// There is none of this name.
    Missing,
}

/// All configured faculties. One that is not configured is a plugin that exports a faculty, with the defaults.
#[derive(Clone, Debug, Default)]
pub struct Faculties {
    by_name: BTreeMap<String, Faculty>,
    /// The faculty that accepts a kind of work.
    kinds: BTreeMap<String, String>,
}

impl Faculties {
    /// Puts them together.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names both, for a kind of work that two of them accept.
    pub fn new(all: impl IntoIterator<Item = Faculty>) -> Result<Self> {
        let mut faculties = Self::default();
        // In one order, so that the same mistake has the same message each time.
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        for faculty in all {
            for kind in &faculty.config.accepts {
                match faculties.kinds.entry(kind.clone()) {
                    Entry::Vacant(free) => drop(free.insert(faculty.name.clone())),
                    Entry::Occupied(taken) if *taken.get() == faculty.name => {}
                    Entry::Occupied(taken) => {
                        return Err(Error::Invalid(format!(
                            "the faculties '{}' and '{}' both accept '{}', so work of this kind could go to either; take it \
                             from 'accepts' of one of them",
                            taken.get(),
                            faculty.name,
                            kind.escape_debug()
                        )));
                    }
                }
            }
            faculties.by_name.insert(faculty.name.clone(), faculty);
        }
        Ok(faculties)
    }

    /// Those that are configured, by name.
    pub fn configured(&self) -> impl Iterator<Item = &Faculty> {
        self.by_name.values()
    }

    /// One that is configured.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Faculty> {
        self.by_name.get(name)
    }

    /// Where work of this faculty or kind goes: to the faculty of that name, else to a plugin of that name which exports
    /// one, else to the faculty that accepts such work.
    ///
    /// # Errors
    /// [`Error::Unavailable`] that says why nothing runs it now, and what would help.
    pub fn route(&self, asked: &str, stands: &dyn Fn(&str) -> Stands) -> Result<Route> {
        let is_anothers = |faculty: &Faculty| faculty.is_project && stands(&faculty.name) != Stands::Missing;
        let accepting = || self.by_name.get(self.kinds.get(asked)?).filter(|faculty| !is_anothers(faculty));
        let faculty = match self.by_name.get(asked) {
            None if stands(asked) == Stands::Missing => accepting(),
            found => found,
        };
        let (name, config) = match faculty {
            Some(faculty) if is_anothers(faculty) => {
                let config = FacultyConfig::clone(&faculty.config);
                (faculty.name.as_str(), Arc::new(FacultyConfig { plugin: None, accepts: Vec::new(), ..config }))
            }
            Some(faculty) => (faculty.name.as_str(), faculty.config.clone()),
            None => (asked, Arc::default()),
        };
        let config = match config.plugin {
            Some(_) => config,
            None => match PluginName::new(name) {
                Ok(plugin) => Arc::new(FacultyConfig { plugin: Some(plugin), ..FacultyConfig::clone(&config) }),
                Err(_) => return Err(Error::Unavailable(self.unknown(asked))),
            },
        };
        let plugin = config.plugin.as_ref().map_or(name, |plugin| plugin.as_str());
        let shown = name.escape_debug();
        match stands(plugin) {
            Stands::Serving => Ok(Route { faculty: name.to_owned(), config }),
            Stands::Missing if faculty.is_none() => Err(Error::Unavailable(self.unknown(asked))),
            Stands::Missing => Err(Error::Unavailable(format!(
                "the faculty '{shown}' stands on the plugin '{plugin}', which is not installed; install it: animus plugin \
                 install"
            ))),
            Stands::AwaitingGrant => Err(Error::Unavailable(format!(
                "the plugin '{plugin}' of the faculty '{shown}' awaits a grant: animus plugin grant {plugin} --requested"
            ))),
            Stands::NoFaculty => Err(Error::Unavailable(format!(
                "the plugin '{plugin}' of the faculty '{shown}' exports no faculty; see which do: animus faculty list"
            ))),
        }
    }

    fn unknown(&self, asked: &str) -> String {
        let known = self.by_name.keys().chain(self.kinds.keys()).map(String::as_str);
        let hint = match crate::text::nearest(asked, known) {
            Some(near) => format!("; did you mean '{near}'?"),
            None => "; see which there are: animus faculty list".to_owned(),
        };
        format!("no faculty is named '{}', and none accepts such work{hint}", asked.escape_debug())
    }

    /// Everything that work may name and that runs with these plugins: names and kinds, with where each goes.
    #[must_use]
    pub fn served(&self, plugins: &dyn PluginSet) -> BTreeMap<String, Route> {
        let stands = |name: &str| match plugins.plugin(name) {
            Some(plugin) if plugin.is_faculty => Stands::Serving,
            Some(_) => Stands::NoFaculty,
            None => Stands::Missing,
        };
        let plugins = plugins.plugins().iter().filter(|plugin| plugin.is_faculty).map(|plugin| plugin.name.as_str());
        let names = self.by_name.keys().chain(self.kinds.keys()).map(String::as_str).chain(plugins);
        names.filter_map(|name| Some((name.to_owned(), self.route(name, &stands).ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faculty(name: &str, text: FacultyConfig) -> Faculty {
        Faculty { name: name.into(), config: Arc::new(text), source: format!("{name}.toml"), is_project: false }
    }

    fn accepting(name: &str, kinds: &[&str]) -> Faculty {
        let accepts = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        faculty(name, FacultyConfig { accepts, ..FacultyConfig::default() })
    }

    fn plugins(name: &str) -> Stands {
        match name {
            "researcher" | "assistant" | "report" => Stands::Serving,
            "waiting" => Stands::AwaitingGrant,
            "fs" => Stands::NoFaculty,
            _ => Stands::Missing,
        }
    }

    fn why(result: Result<Route>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_name_wins_over_a_plugin_and_a_plugin_over_a_kind() {
        let mine = FacultyConfig { plugin: Some(PluginName::new("assistant").unwrap()), ..FacultyConfig::default() };
        let all = Faculties::new([accepting("researcher", &["study", "report"]), faculty("coder", mine)]).unwrap();
        let to = |asked| {
            let route = all.route(asked, &plugins).unwrap();
            (route.faculty, route.config.plugin.clone().unwrap().to_string())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(to("researcher"), pair("researcher", "researcher"));
        assert_eq!(to("study"), pair("researcher", "researcher"));
        assert_eq!(to("coder"), pair("coder", "assistant"));
        assert_eq!(to("report"), pair("report", "report"), "a plugin of that name is the direct one");
        assert_eq!(to("assistant"), pair("assistant", "assistant"));
    }

    #[test]
    fn a_project_sends_the_work_of_an_installed_plugin_nowhere_else_and_has_none_come_to_it() {
        let project = |name: &str| {
            let plugin = Some(PluginName::new("researcher").unwrap());
            let accepts = vec![format!("for-{name}")];
            Faculty { is_project: true, ..faculty(name, FacultyConfig { plugin, accepts, ..FacultyConfig::default() }) }
        };
        let all = Faculties::new([project("assistant"), project("waiting"), project("own")]).unwrap();
        let config = |asked| all.route(asked, &plugins).unwrap().config;
        assert_eq!(config("assistant").plugin.as_ref().unwrap().as_str(), "assistant");
        assert!(config("assistant").accepts.is_empty());
        assert!(why(all.route("waiting", &plugins)).contains("animus plugin grant waiting --requested"));
        assert!(why(all.route("for-assistant", &plugins)).contains("none accepts such work"));
        for asked in ["own", "for-own"] {
            assert_eq!(
                config(asked).plugin.as_ref().unwrap().as_str(),
                "researcher",
                "it may have faculties of its own"
            );
        }
    }

    #[test]
    fn a_kind_that_two_accept_is_an_error_that_names_both() {
        let both = Faculties::new([accepting("a", &["study"]), accepting("b", &["study"])]).unwrap_err().to_string();
        assert!(both.contains("'a' and 'b' both accept 'study'"), "{both}");
    }

    #[test]
    fn what_runs_nowhere_says_why() {
        let on =
            |plugin: &str| FacultyConfig { plugin: Some(PluginName::new(plugin).unwrap()), ..FacultyConfig::default() };
        let all =
            Faculties::new([faculty("coder", on("gone")), faculty("files", on("fs")), accepting("late", &["study"])])
                .unwrap();
        assert!(why(all.route("coder", &plugins)).contains("'gone', which is not installed"));
        assert!(why(all.route("files", &plugins)).contains("exports no faculty"));
        assert!(why(all.route("waiting", &plugins)).contains("animus plugin grant waiting --requested"));
        assert!(why(all.route("codr", &plugins)).contains("did you mean 'coder'?"));
        assert!(why(all.route("No Such Thing", &plugins)).contains("animus faculty list"));
        assert!(why(all.route("study", &plugins)).contains("'late'"));
    }
}
