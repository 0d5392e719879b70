//! What is to be done to a lab: the file compared with what there is. Nothing is read or changed.

use serde::Serialize;

use super::file::Group;
use super::roster::{Member, Origin, Roster};
use super::{GROUP, LAB, Lab};
use crate::failure::{self, Failure};
use crate::monitor::Report;
use crate::output::human;
use crate::store::Name;
use crate::store::vm::Record;

/// What can be done to a clone, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    Make,
    Stop,
    Reset,
    Start,
    Remove,
}

impl Step {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Step::Make => "make",
            Step::Stop => "stop",
            Step::Reset => "reset",
            Step::Start => "start",
            Step::Remove => "remove",
        }
    }
}

/// One clone's part in a plan, and what came of it. The keys are stable.
#[derive(Debug, Serialize)]
pub struct Seat {
    pub name: Name,
    pub group: String,
    /// The group's number in the file; none where it is not there any more.
    #[serde(skip)]
    pub number: Option<usize>,
    /// Before anything was done.
    pub state: &'static str,
    /// What is to be done.
    pub steps: Vec<Step>,
    /// What was done of that.
    pub done: Vec<Step>,
    /// How it is not as the file says.
    pub differs: Vec<String>,
    /// What went wrong with it.
    pub error: Option<Report>,
    /// Whether that is only because of another group.
    #[serde(skip)]
    pub waits: bool,
}

impl Seat {
    fn new(name: &Name, group: &str, number: Option<usize>, member: Option<&Member>) -> Seat {
        Seat {
            name: name.clone(),
            group: group.to_owned(),
            number,
            state: member.map_or("absent", |member| member.state),
            steps: Vec::new(),
            done: Vec::new(),
            differs: Vec::new(),
            error: None,
            waits: false,
        }
    }

    /// Whether a step is still to be done.
    pub fn is_due(&self, step: Step) -> bool {
        self.error.is_none() && self.steps.contains(&step) && !self.done.contains(&step)
    }

    /// Takes in what came of a step.
    pub fn note(&mut self, step: Step, result: Result<(), anyhow::Error>) {
        match result {
            Ok(()) => self.done.push(step),
            Err(error) => self.fail(&error),
        }
    }

    /// Takes in what went wrong.
    pub fn fail(&mut self, error: &anyhow::Error) {
        self.error = Some(Report::of(error));
    }
}

/// All clones of a lab, in the order of the file.
pub type Plan = Vec<Seat>;

/// What is to be done so that there is what the file says.
///
/// # Errors
/// Others have names it asks for.
pub fn up(lab: &Lab, roster: &Roster) -> Result<Plan, Failure> {
    if !roster.foreign.is_empty() {
        return Err(taken(lab, roster));
    }
    let seat = |(number, name): (usize, &Name)| {
        let group = &lab.groups[number];
        let member = roster.members.get(name);
        let mut seat = Seat::new(name, group.name.as_str(), Some(number), member);
        if member.is_none() {
            seat.steps.push(Step::Make);
        }
        if group.start && !matches!(seat.state, "running" | "paused" | "starting") {
            seat.steps.push(Step::Start);
        }
        seat.differs = member
            .map(|member| differences(group, roster.sources.get(number), member))
            .unwrap_or_default();
        seat
    };
    Ok(lab.clones().map(seat).collect())
}

/// What is to be done so that all clones are as new, and as [`up`] leaves them.
pub fn reset(lab: &Lab, roster: &Roster) -> Plan {
    let seat = |(number, name): (usize, &Name)| {
        let group = &lab.groups[number];
        let member = roster.members.get(name);
        let mut seat = Seat::new(name, group.name.as_str(), Some(number), member);
        match member {
            Some(member) => {
                seat.steps.extend(member.is_live().then_some(Step::Stop));
                seat.steps.push(Step::Reset);
                seat.steps.extend(group.start.then_some(Step::Start));
                seat.differs = differences(group, roster.sources.get(number), member);
            }
            None => seat.fail(&missing(lab, roster, name)),
        }
        seat
    };
    lab.clones().map(seat).collect()
}

/// What is to be done so that nothing of the lab runs, and unless `keep`, is.
pub fn down(lab: &Lab, roster: &Roster, keep: bool) -> Plan {
    let clones = lab.clones().map(|(number, name)| (name, Some(number)));
    let wanted = clones.filter(|(name, _)| {
        roster.members.contains_key(*name) || roster.foreign.contains_key(*name)
    });
    let extra = extra(lab, roster).map(|name| (name, None));
    let seat = |(name, number): (&Name, Option<usize>)| {
        let Some(member) = roster.members.get(name) else {
            let group = number.map_or("", |number| lab.groups[number].name.as_str());
            let mut seat = Seat::new(name, group, number, None);
            seat.fail(&missing(lab, roster, name));
            return seat;
        };
        let mut seat = Seat::new(name, &member.group, number, Some(member));
        seat.steps.extend(member.is_live().then_some(Step::Stop));
        seat.steps.extend((!keep).then_some(Step::Remove));
        seat
    };
    wanted.chain(extra).map(seat).collect()
}

/// The lab's clones that the file does not ask for any more.
pub fn extra<'a>(lab: &Lab, roster: &'a Roster) -> impl Iterator<Item = &'a Name> {
    let wanted: std::collections::BTreeSet<Name> = lab.clones().map(|(_, n)| n.clone()).collect();
    roster.members.keys().filter(move |name| !wanted.contains(name))
}

fn taken(lab: &Lab, roster: &Roster) -> Failure {
    let names: Vec<_> =
        roster.foreign.iter().map(|(name, what)| format!("{name} ({what})")).collect();
    let what =
        format!("these names are taken, and not by the lab {}: {}", lab.name, failure::few(&names));
    Failure::in_use(what).hint("other names in the lab's file, or offshoot rename")
}

fn missing(lab: &Lab, roster: &Roster, name: &Name) -> anyhow::Error {
    match roster.foreign.get(name) {
        Some(what) => {
            let what = format!("{name} is {what} that is not of the lab {}", lab.name);
            Failure::in_use(what).hint("another name in the lab's file").into()
        }
        None => {
            Failure::not_found(format!("there is no {name} yet")).hint("offshoot lab up").into()
        }
    }
}

/// How a clone is not as its group's table says. What the table leaves open cannot differ.
fn differences(group: &Group, origin: Option<&Origin>, member: &Member) -> Vec<String> {
    let Some(record) = &member.record else {
        return vec!["its record cannot be read".into()];
    };
    let asked = &group.request;
    let mut all = Vec::new();
    let mut compare = |what: &str, is: String, asked: Option<String>| {
        if let Some(asked) = asked.filter(|asked| *asked != is) {
            all.push(format!("{what} is {is}, the file says {asked}"));
        }
    };
    let image = origin.and_then(|origin| origin.image.as_ref());
    if let Some(own) = &member.image {
        compare("image", own.to_string(), image.map(Name::to_string));
    }
    compare("group", member.group.clone(), Some(group.name.to_string()));
    compare("cpus", record.cpus.to_string(), asked.cpus.map(|cpus| cpus.to_string()));
    let mib = |mib: u64| human::bytes(mib << 20);
    compare("memory", mib(record.memory_mib), asked.memory_mib.map(mib));
    compare("ephemeral", record.ephemeral.to_string(), Some(asked.ephemeral.to_string()));
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let quoted = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
    let own = &record.boot;
    let none = || "the image's".to_owned();
    compare("kernel", path(&own.kernel).unwrap_or_else(none), path(&asked.boot.kernel));
    compare("initrd", path(&own.initrd).unwrap_or_else(none), path(&asked.boot.initrd));
    compare("cmdline", quoted(&own.cmdline).unwrap_or_else(none), quoted(&asked.boot.cmdline));
    let dir = path(&member.delta_dir).unwrap_or_else(|| "the store's".to_owned());
    compare("delta_dir", dir, path(&asked.delta_dir));
    if let Some(size) = asked.disk_size.filter(|&size| size > record.disk_size) {
        compare("disk", human::bytes(record.disk_size), Some(human::bytes(size)));
    }
    all.extend(labels(group, record));
    all
}

/// Labels the file asks for and a clone has not. Others are people's own.
fn labels<'a>(group: &'a Group, record: &'a Record) -> impl Iterator<Item = String> + 'a {
    let asked = group.request.labels.iter().filter(|(key, _)| !matches!(&***key, LAB | GROUP));
    asked.filter(|(key, value)| record.labels.get(*key) != Some(value)).map(|(key, value)| {
        let is = record.labels.get(key).map_or("absent", String::as_str);
        format!("label {key} is {is}, the file says {value}")
    })
}
