//! Children of a fake host: each is done when it is spawned.

use std::rc::Rc;

use super::State as Host;
use crate::{
    Error, Result,
    children::{Child, NewChild, State},
};

/// Does the work of a child: what it says for people.
pub(crate) type Worker = Rc<dyn Fn(&NewChild) -> Result<String>>;

impl Host {
    pub(crate) fn spawn(&self, new: &NewChild) -> Result<String> {
        self.check(&format!("spawn-child:{}", new.faculty))?;
        if !serde_json::from_str::<serde_json::Value>(&new.params)?.is_object() {
            return Err(Error::invalid("the parameters of a child are a JSON object"));
        }
        let mut seen = self.seen();
        let id = format!("child-{}", seen.children.len() + 1);
        let done = match &self.worker {
            Some(worker) => worker(new),
            None => Err(Error::unavailable("the fake host has nobody who does it: FakeHost::worker adds one")),
        };
        let (state, summary, error) = match done {
            Ok(summary) => (State::Completed, summary, None),
            Err(error) => (State::Failed, String::new(), Some(error.to_string())),
        };
        let child = Child {
            id: id.clone(),
            faculty: new.faculty.clone(),
            state,
            success: state == State::Completed,
            summary,
            data: None,
            error,
            ledger: String::new(),
            cut: false,
            tokens: 0,
            cost_microusd: 0,
        };
        seen.children.push((new.clone(), child));
        Ok(id)
    }

    pub(crate) fn children(&self, ids: &[String]) -> Result<Vec<Child>> {
        let seen = self.seen();
        let find = |id: &String| {
            let mut children = seen.children.iter().map(|(_, child)| child);
            let found =
                children.find(|child| child.id == *id && self.allows(&format!("spawn-child:{}", child.faculty)));
            found.cloned().ok_or_else(|| Error::not_found(format!("this work has no child '{id}'")))
        };
        ids.iter().map(find).collect()
    }
}
