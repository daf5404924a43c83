//! `lab formation`: a pg_auto_failover formation until Ctrl-C, and the words that act on it from another terminal.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use lab::{Account, Formation, FormationOptions, LabError, Member, Part, Profile};

use crate::Failure;
use crate::ending::{Ending, POLL};

const STABLE_LIMIT: Duration = Duration::from_secs(120);

/// What to start, or what to do to what runs.
#[derive(clap::Args)]
pub struct FormationArguments {
    /// Where the formation is; by default one place for each user, in memory where possible.
    #[arg(long, value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    /// How many data nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// How soon a dead primary is replaced: fast (4 s), fastest (2 s), default (51 s).
    #[arg(long, default_value_t)]
    profile: Profile,
    #[command(subcommand)]
    word: Option<Word>,
}

#[derive(Subcommand)]
enum Word {
    /// Starts or thaws what does not run, and waits until the formation is stable.
    Up,
    /// Shows every member.
    Status,
    /// Names the primary and its address.
    Primary,
    /// Waits for one primary and healthy standbys.
    Wait,
    /// Makes another node the primary.
    Switchover {
        /// Which; by default the monitor chooses.
        #[arg(long, value_name = "NODE")]
        to: Option<Member>,
    },
    /// Kills a member, pg_autoctl and server at one moment (kill -9).
    Kill { member: Member },
    /// Kills a member's server only; pg_autoctl starts it again.
    KillPostgres { member: Member },
    /// Asks a member to end; the monitor is told nothing.
    Stop { member: Member },
    /// Starts a member that was killed or stopped.
    Restart { member: Member },
    /// Freezes a member: connections stay open, nothing answers.
    Freeze {
        member: Member,
        /// Only a part of it: keeper, postgres, postmaster.
        #[arg(long, default_value = "all", value_parser = part)]
        part: Part,
    },
    /// Thaws what is frozen of a member.
    Thaw { member: Member },
    /// Puts a node into maintenance, or takes it out.
    Maintenance {
        node: Member,
        #[arg(value_parser = ["on", "off"])]
        to: String,
    },
    /// Adds a standby.
    AddNode {
        /// Asynchronous, and never the primary.
        #[arg(long = "async")]
        asynchronous: bool,
    },
    /// Takes a node out for good.
    DropNode { node: Member },
    /// Shows the last lines of a member's logs.
    Log { member: Member },
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "all" => Ok(Part::All),
        "keeper" => Ok(Part::Keeper),
        "postgres" => Ok(Part::Postgres),
        "postmaster" => Ok(Part::Postmaster),
        _ => Err("not all, keeper, postgres or postmaster".into()),
    }
}

/// Without a word, runs a formation until Ctrl-C.
pub fn run(arguments: FormationArguments) -> Result<(), Failure> {
    let FormationArguments { directory, nodes, profile, word } = arguments;
    let directory = directory.map_or_else(usual_directory, Ok)?;
    if let Some(word) = word {
        return act(&mut Formation::attach(&directory)?, word);
    }
    let ending = Ending::watch()?;
    let formation = Formation::start(FormationOptions { nodes, profile, directory: Some(directory) })?;
    io::stdout().write_all(welcome(&formation)?.as_bytes())?;
    while !ending.asked() {
        thread::sleep(POLL);
    }
    Ok(())
}

/// The one where a formation is, else the one where it would go: the memory may have filled up since it was started.
fn usual_directory() -> Result<PathBuf, LabError> {
    let name = format!("pooler-lab-formation-{}", Account::current()?.uid());
    let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()].map(|place| place.join(&name));
    Ok(places.into_iter().find(|place| place.exists()).unwrap_or_else(|| lab::temporary_root().join(name)))
}

/// The last line is for scripts.
fn welcome(formation: &Formation) -> Result<String, LabError> {
    let mut text = String::from("The formation is ready. Ctrl-C ends it; nothing stays.\n\n");
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<12}{value}\n"));
    line("monitor", &formation.monitor_uri()?);
    for node in formation.nodes() {
        line(&node.to_string(), &formation.url(node, "app", "app")?);
    }
    line("write", &format!("psql '{}'", formation.app_uri()?));
    let (directory, pause) = (formation.directory().display(), formation.profile().failover_limit().as_secs());
    let program = std::env::current_exe().unwrap_or_else(|_| "lab".into());
    line("logs", &format!("{directory}/log"));
    line("paste first", &format!("f() {{ {} formation --directory {directory} \"$@\"; }}", program.display()));
    line("look", "f status");
    line("switch over", "f switchover");
    line("crash", &format!("f kill node1; sleep {pause}; f restart node1; f status"));
    line("hang", &format!("f freeze node2; sleep {pause}; f thaw node2; f status"));
    line("more", "f help");
    text.push_str(&format!("ready {directory}\n"));
    Ok(text)
}

fn act(formation: &mut Formation, word: Word) -> Result<(), Failure> {
    match word {
        Word::Up => formation.up()?,
        Word::Status => io::stdout().write_all(status(formation)?.as_bytes())?,
        Word::Primary => {
            let primary = formation.primary().ok_or(LabError::NoPrimary)?;
            writeln!(io::stdout(), "{primary} {}", formation.address(primary)?)?;
        }
        Word::Wait => formation.wait_stable(STABLE_LIMIT)?,
        Word::Switchover { to } => {
            let moved = formation.switchover(to)?;
            let (writable, stable) = (moved.writable_after.as_millis(), moved.stable_after.as_millis());
            writeln!(io::stdout(), "{} -> {} writable {writable} ms stable {stable} ms", moved.from, moved.to)?;
        }
        Word::Kill { member } => formation.kill(member)?,
        Word::KillPostgres { member } => formation.kill_postgres(member)?,
        Word::Stop { member } => formation.stop(member)?,
        Word::Restart { member } => formation.restart(member)?,
        Word::Freeze { member, part } => formation.freeze(member, part)?,
        Word::Thaw { member } => formation.thaw(member)?,
        Word::Maintenance { node, to } => formation.maintenance(node, to == "on")?,
        Word::AddNode { asynchronous: false } => writeln!(io::stdout(), "{}", formation.add_node()?)?,
        Word::AddNode { asynchronous: true } => writeln!(io::stdout(), "{}", formation.add_async_node()?)?,
        Word::DropNode { node } => formation.drop_node(node)?,
        Word::Log { member } => writeln!(io::stdout(), "{}", formation.log(member, 30))?,
    }
    Ok(())
}

/// What the monitor knows, as far as it answers, beside what the processes show.
fn status(formation: &Formation) -> Result<String, LabError> {
    let states = formation.states().unwrap_or_default();
    let primary = formation.primary();
    let mut text = format!(
        "{:<9}{:<17}{:<20}{:<20}{:<9}{:<12}{:<10}{}\n",
        "NAME", "ADDRESS", "REPORTED", "GOAL", "HEALTH", "LSN", "TIMELINE", "PROCESSES"
    );
    for member in std::iter::once(Member::Monitor).chain(formation.nodes()) {
        let state = states.iter().find(|state| state.node == member);
        let [reported, goal, lsn] =
            state.map_or(["-"; 3], |state| [state.reported.as_str(), state.goal.as_str(), state.lsn.as_str()]);
        let health = match state.map(|state| state.healthy) {
            Some(Some(true)) => "good",
            Some(Some(false)) => "bad",
            _ => "-",
        };
        let timeline = state.map_or_else(|| "-".to_owned(), |state| state.timeline.to_string());
        let writes = if primary == Some(member) { ", takes writes" } else { "" };
        text.push_str(&format!(
            "{:<9}{:<17}{reported:<20}{goal:<20}{health:<9}{lsn:<12}{timeline:<10}{}{writes}\n",
            member.to_string(),
            formation.address(member)?.to_string(),
            formation.condition(member),
        ));
    }
    Ok(text)
}
