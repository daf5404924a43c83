//! What stops traffic, and what proves that it may start. Rule one: a node is written to when the monitor says so and the
//! node says so, both after the last reason to doubt it.

use crate::follower::SILENT_AFTER;
use crate::member::Member;
use crate::node::Node;
use crate::state::Class;
use crate::{Answer, Epoch, Follower, Identity, NodeId, NodeState, Route, SystemId, Truth, Unfit, Why};
use std::time::Instant;

impl Follower {
    /// Why traffic on the present route has to stop, going by all that is known.
    pub(crate) fn objection(&self, now: Instant) -> Option<Why> {
        let route = self.route.as_ref()?;
        let Some(member) = self.member(route.node) else { return Some(Why::Gone(route.node)) };
        if member.endpoint != route.epoch.identity.endpoint {
            return Some(Why::Moved(member.id, member.endpoint.clone()));
        }
        self.monitors_objection(route, member)
            .or_else(|| self.nodes_objection(route, member))
            .or_else(|| self.others_objection(route, member, now))
    }

    fn monitors_objection(&self, route: &Route, member: &Member) -> Option<Why> {
        let row = member.row.as_ref()?;
        let may_stay = match route.early {
            true => is_on_its_way(row) || row.is_assigned(),
            false => row.is_assigned(),
        };
        let rival = self.members.iter().find(|other| other.id != member.id && other.is_assigned());
        match rival {
            _ if !may_stay => member.told().map(Why::Leaving),
            Some(rival) => Some(Why::Contradiction(member.id, rival.id)),
            None => None,
        }
    }

    fn nodes_objection(&self, route: &Route, member: &Member) -> Option<Why> {
        if let Some(failure) = member.seen.lost() {
            return Some(Why::Unreachable(member.id, failure));
        }
        let unfit = member.seen.last_answer().and_then(|answer| route.admits(answer).err());
        unfit.map(|unfit| Why::Unfit(member.id, unfit))
    }

    /// While nobody else says who is the primary, the other nodes are asked.
    fn others_objection(&self, route: &Route, member: &Member, now: Instant) -> Option<Why> {
        let has_monitor = self.settings.truth == Truth::Monitor;
        if has_monitor && !self.is_silent(now) {
            return None;
        }
        let identity = &route.epoch.identity;
        for other in self.members.iter().filter(|other| other.id != member.id) {
            let ours = other.seen.last_answer().filter(|answer| answer.system == identity.system);
            if let Some(timeline) = ours.and_then(Answer::written_timeline).filter(|it| *it >= identity.timeline) {
                return Some(Why::Stale(other.id, timeline));
            }
        }
        let is_isolated = |answer: &Answer| answer.sync_on && answer.walsenders == 0;
        let waits_in_vain = has_monitor && !route.early && member.seen.last_answer().is_some_and(is_isolated);
        waits_in_vain.then_some(Why::Isolated)
    }

    /// The route that everything needed proves; else what stands in the way, or `None` if proofs are still to come.
    pub(crate) fn proof(&self, now: Instant) -> Result<Route, Option<Why>> {
        let route = match self.settings.truth {
            Truth::Monitor => self.monitors_choice(now)?,
            Truth::Hosts(_) => self.hosts_choice(now)?,
        };
        let is_successor = self.route.as_ref().is_some_and(|last| last.epoch.number < route.epoch.number);
        match self.planned {
            Some(_) if !is_successor => Err(Some(Why::Planned)),
            _ => Ok(route),
        }
    }

    fn monitors_choice(&self, now: Instant) -> Result<Route, Option<Why>> {
        let told_at = self.told_at.ok_or(None)?;
        let is_silent = self.is_silent(now);
        let is_fresh = told_at > self.stopped_at;
        let mut assigned = self.members.iter().filter(|member| member.is_assigned());
        let chosen = match (assigned.next(), assigned.next()) {
            (Some(one), Some(other)) => return Err(Some(Why::Contradiction(one.id, other.id))),
            (None, _) if is_fresh && !is_silent => return self.early_choice(now),
            (None, _) => return Err(is_fresh.then_some(Why::NoPrimary)),
            (Some(one), None) => one,
        };
        let stands = is_fresh || (is_silent && self.stands(chosen, told_at));
        if !stands {
            return Err(is_silent.then_some(Why::MonitorSilent));
        }
        let route = self.nodes_word(chosen, now)?;
        let is_successor = self.route.as_ref().is_none_or(|last| last.epoch.number < route.epoch.number);
        if is_successor && !is_fresh {
            return Err(Some(Why::MonitorSilent));
        }
        if is_silent {
            self.others_objection(&route, chosen, now).map_or(Ok(()), |why| Err(Some(why)))?;
            if !self.is_confirmed(chosen, route.epoch.identity.system, now) {
                return Err(Some(Why::MonitorSilent));
            }
        }
        Ok(route)
    }

    /// Whether the monitor's word from before the stop still stands: it was about the last primary, and no notification
    /// has contradicted it since.
    fn stands(&self, member: &Member, told_at: Instant) -> bool {
        let is_last = self.route.as_ref().is_some_and(|last| last.node == member.id && !last.early);
        is_last && self.hinted_at.is_none_or(|hinted_at| hinted_at < told_at)
    }

    /// While the monitor is silent, a node that may have been replaced behind our back has to be confirmed: by a standby
    /// that follows it, by the monitor's last word that nobody can succeed it, or by all other nodes, which were asked
    /// after the stop and still are standbys. Some of them are not enough: they may follow a successor that we cannot see.
    fn is_confirmed(&self, member: &Member, system: SystemId, now: Instant) -> bool {
        let follows = member.seen.last_answer().is_some_and(|answer| answer.walsenders > 0);
        let is_alone = |state: &NodeState| matches!(state, NodeState::Single | NodeState::WaitPrimary);
        let cannot_be_succeeded = member.row.as_ref().is_some_and(|row| is_alone(&row.reported) && is_alone(&row.goal));
        let is_standby = |other: &Member| {
            self.word_of(other, now).is_some_and(|answer| answer.in_recovery && answer.system == system)
        };
        let mut others = self.members.iter().filter(|other| other.id != member.id);
        follows || cannot_be_succeeded || others.all(is_standby)
    }

    /// What the node says, asked after the stop and within the last seconds: since an older word much may have happened.
    fn word_of<'a>(&self, member: &'a Member, now: Instant) -> Option<&'a Answer> {
        let recently = now.checked_sub(SILENT_AFTER).map_or(self.stopped_at, |moment| moment.max(self.stopped_at));
        member.seen.fresh(recently)
    }

    /// The node's half of the proof, and its succession.
    fn nodes_word(&self, member: &Member, now: Instant) -> Result<Route, Option<Why>> {
        let Some(answer) = self.word_of(member, now) else {
            let failure = member.seen.failure.filter(|_| member.seen.is_heard(self.stopped_at));
            return Err(failure.map(|failure| Why::Unreachable(member.id, failure)));
        };
        let unfit = |unfit| Err(Some(Why::Unfit(member.id, unfit)));
        let Some(timeline) = answer.written_timeline() else { return unfit(Unfit::InRecovery) };
        if answer.read_only {
            return unfit(Unfit::ReadOnly);
        }
        self.route_to(member, answer, timeline, false)
    }

    fn route_to(&self, member: &Member, answer: &Answer, timeline: u32, early: bool) -> Result<Route, Option<Why>> {
        if member.row.as_ref().and_then(|row| row.system).is_some_and(|system| system != answer.system) {
            return Err(Some(Why::Impostor(member.id, answer.system)));
        }
        let identity = Identity { endpoint: member.endpoint.clone(), system: answer.system, timeline };
        let number = self.succeed(member.id, &identity)?;
        Ok(Route { node: member.id, epoch: Epoch { number, identity }, early })
    }

    /// In a planned failover: the old primary has stopped, and exactly one node on its way to be the primary is out of
    /// recovery on the next timeline, though not writable by default yet.
    fn early_choice(&self, now: Instant) -> Result<Route, Option<Why>> {
        let nobody = Err(Some(Why::NoPrimary));
        let (true, Some(_), Some(last)) = (self.settings.early_open, self.planned, &self.route) else { return nobody };
        let old = self.member(last.node).and_then(|member| member.row.as_ref());
        if !old.is_some_and(|row| row.reported.proves_stopped()) {
            return nobody;
        }
        let identity = &last.epoch.identity;
        let mut promoted = self.members.iter().filter_map(|member| {
            let answer = self.word_of(member, now)?;
            let is_next = answer.written_timeline() == Some(identity.timeline + 1) && answer.system == identity.system;
            let is_chosen = member.id != last.node && is_on_its_way(member.row.as_ref()?);
            (is_next && is_chosen).then_some((member, answer))
        });
        match (promoted.next(), promoted.next()) {
            (Some((member, answer)), None) => self.route_to(member, answer, identity.timeline + 1, true),
            _ => nobody,
        }
    }

    /// An early route is settled when rule one holds for it.
    pub(crate) fn settle_early(&mut self, now: Instant) {
        let (true, Some(route)) = (self.is_open(), &self.route) else { return };
        let is_settled = self.member(route.node).is_some_and(|member| {
            let is_fresh = self.told_at.is_some_and(|told_at| told_at > self.stopped_at);
            is_fresh
                && member.is_assigned()
                && self.nodes_word(member, now).is_ok_and(|proved| proved.epoch == route.epoch)
        });
        if let Some(route) = self.route.as_mut().filter(|_| is_settled) {
            route.early = false;
        }
    }

    /// Without a monitor: the node that writes the greatest timeline of our system, once all hosts have been asked.
    fn hosts_choice(&self, now: Instant) -> Result<Route, Option<Why>> {
        let system = self.route.as_ref().map(|last| last.epoch.identity.system);
        let mut claims: Vec<(u32, &Member, &Answer)> =
            self.members.iter().filter_map(|member| self.claim(member, now)).collect();
        if claims.iter().any(|(_, _, answer)| Some(answer.system) == system) {
            claims.retain(|(_, _, answer)| Some(answer.system) == system);
        }
        claims.sort_by_key(|(timeline, ..)| std::cmp::Reverse(*timeline));
        let Some((_, chosen, answer)) = claims.first() else {
            return Err(None);
        };
        if let Some((_, other, _)) =
            claims[1..].iter().find(|(timeline, _, other)| *timeline == claims[0].0 || other.system != answer.system)
        {
            return Err(Some(Why::Contradiction(chosen.id, other.id)));
        }
        let route = self.nodes_word(chosen, now)?;
        self.others_objection(&route, chosen, now).map_or(Ok(()), |why| Err(Some(why)))?;
        let is_same = self.route.as_ref().is_some_and(|last| last.epoch == route.epoch);
        match self.members.iter().find(|member| !member.seen.is_heard(self.stopped_at)) {
            Some(unheard) if !is_same => Err(Some(Why::Unheard(unheard.id))),
            _ => Ok(route),
        }
    }

    fn claim<'a>(&self, member: &'a Member, now: Instant) -> Option<(u32, &'a Member, &'a Answer)> {
        let answer = self.word_of(member, now).filter(|answer| answer.claims_writes())?;
        Some((answer.written_timeline()?, member, answer))
    }
}

/// Whether the monitor is making it the primary.
fn is_on_its_way(row: &Node) -> bool {
    is_rising(&row.goal) && is_rising(&row.reported)
}

pub(crate) fn is_rising(state: &NodeState) -> bool {
    matches!(state.class(), Class::Promoting | Class::Writable)
}

/// Who else says that it takes writes.
pub(crate) fn claimant(follower: &Follower) -> Option<NodeId> {
    let primary = follower.route.as_ref().filter(|_| follower.is_open()).map(|route| route.node)?;
    let claims =
        |member: &&Member| member.id != primary && member.seen.last_answer().is_some_and(Answer::claims_writes);
    follower.members.iter().find(claims).filter(|member| member.seen.failure.is_none()).map(|member| member.id)
}
