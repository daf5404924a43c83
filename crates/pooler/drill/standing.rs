//! How the pooler sees a formation: SHOW FORMATIONS.

use proxy::visitor::{Answer, Failure, Visitor};

/// How the pooler sees a formation.
#[derive(Debug)]
pub struct Standing {
    gate: String,
    why: String,
    monitor: String,
    nodes: Vec<Node>,
}

/// One of its nodes.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: String,
    is_target: bool,
    states: [String; 2],
    health: String,
}

impl Standing {
    /// Asks the console.
    ///
    /// # Errors
    /// The console's.
    pub fn ask(console: &mut Visitor, formation: &str, given_up: impl Fn() -> bool) -> Result<Self, Failure> {
        Ok(Self::read(&console.ask("SHOW FORMATIONS", given_up)?, formation))
    }

    fn read(answer: &Answer, formation: &str) -> Self {
        let rows: Vec<_> = answer.rows.iter().filter(|row| answer.value(row, "name") == formation).collect();
        let of_all = |column: &str| rows.first().map_or("", |row| answer.value(row, column)).to_owned();
        let node = |row: &&Vec<Option<String>>| {
            let value = |column: &str| answer.value(row, column).to_owned();
            Node {
                name: value("node"),
                host: value("host"),
                port: value("port"),
                is_target: value("target") == "yes",
                states: [value("reported"), value("goal")],
                health: value("health"),
            }
        };
        let nodes = rows.iter().map(node).filter(|node| !node.name.is_empty()).collect();
        Self { gate: of_all("gate"), why: of_all("why"), monitor: of_all("monitor"), nodes }
    }

    /// Whether transactions may begin.
    pub fn is_open(&self) -> bool {
        self.gate == "open"
    }

    /// Where transactions go.
    pub fn primary(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_target)
    }

    /// The primary of a formation that can stand its loss.
    ///
    /// # Errors
    /// What is wrong.
    pub fn healthy(&self) -> Result<&Node, String> {
        if self.gate.is_empty() {
            return Err("the running pooler does not follow this formation: RELOAD may help".to_owned());
        }
        let primary = self.primary().filter(|_| self.is_open());
        let primary = primary.ok_or_else(|| format!("transactions wait: {}", self.why))?;
        if self.monitor != "heard" {
            return Err(format!("the monitor is not heard ({})", self.monitor));
        }
        let heir = |node: &&Node| node.states.iter().all(|state| state == "secondary") && node.health == "good";
        match self.nodes.iter().find(heir) {
            Some(_) => Ok(primary),
            None => Err(format!("no standby could take over: {}", self.shown())),
        }
    }

    /// Its nodes, for people.
    pub fn shown(&self) -> String {
        let node = |node: &Node| {
            let [reported, goal] = &node.states;
            let state = if reported == goal { reported.clone() } else { format!("{reported}, to be {goal}") };
            format!("{} at {}:{} ({state})", node.name, node.host, node.port)
        };
        self.nodes.iter().map(node).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Standing {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let columns = words("name gate monitor node host port target reported goal health");
        let rows = text.lines().map(|line| words(line).into_iter().map(Some).collect()).collect();
        Standing::read(&Answer { columns, rows }, "main")
    }

    #[test]
    fn a_formation_that_can_stand_the_loss_has_an_heir() {
        let standing = seen(
            "other open heard x h 1 yes primary primary good\n\
             main open heard a h 2 yes primary primary good\nmain open heard b h 3 no secondary secondary good",
        );
        assert_eq!(standing.healthy().expect("it can").name, "a");
        assert_eq!(standing.shown(), "a at h:2 (primary), b at h:3 (secondary)");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let why = |text: &str| seen(text).healthy().expect_err(text);
        assert!(why("other open heard x h 1 yes primary primary good").contains("does not follow"));
        assert!(why("main held heard a h 2 yes primary primary good").contains("transactions wait"));
        assert!(why("main open silent a h 2 yes primary primary good").contains("the monitor"));
        let alone = "main open heard a h 2 yes primary primary good\n";
        assert!(why(alone).contains("no standby"));
        assert!(why(&format!("{alone}main open heard b h 3 no catchingup secondary good")).contains("to be secondary"));
        assert!(why(&format!("{alone}main open heard b h 3 no secondary secondary bad")).contains("no standby"));
    }
}
