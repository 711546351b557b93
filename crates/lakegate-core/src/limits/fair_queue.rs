//! Decides which query runs next when more are ready than may run: round-robin over lanes, one lane for each principal.
//!
//! A state machine without time, locks or tasks: the server's engine holds it under a lock, and wakes the queries that
//! it names. After each step, no slot is free that a waiting query could use.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Identifies a running or waiting query.
pub type Ticket = u64;

/// A query that is ready to run.
#[derive(Clone, Debug)]
pub struct QueueRequest {
    /// The lane: the principal.
    pub lane: Arc<str>,
    /// The group within the lane: the endpoint.
    pub group: Arc<str>,
    /// Maximum number of running queries of the lane.
    pub most_of_lane: usize,
    /// Maximum number of running queries of this group in the lane.
    pub most_of_group: usize,
}

/// A query that cannot even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFull {
    /// The lane's share of the queue is full.
    Lane,
    /// The queue is full.
    Queue,
}

/// The current load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLoad {
    /// Maximum number of running queries.
    pub slots: usize,
    /// Number of running queries.
    pub running: usize,
    /// Number of waiting queries.
    pub waiting: usize,
    /// Number of lanes with waiting queries.
    pub lanes_waiting: usize,
}

/// The queue.
#[derive(Debug)]
pub struct FairQueue {
    slots: usize,
    most_waiting: usize,
    most_waiting_of_lane: usize,
    lanes: HashMap<Arc<str>, Lane>,
    /// The lanes with waiting queries, next turn first.
    turns: VecDeque<Arc<str>>,
    /// The lane and the group of each ticket.
    tickets: HashMap<Ticket, TicketState>,
    running: usize,
    waiting: usize,
    next: Ticket,
}

#[derive(Debug)]
struct TicketState {
    lane: Arc<str>,
    group: Arc<str>,
    runs: bool,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    groups: HashMap<Arc<str>, usize>,
    waiting: VecDeque<(Ticket, QueueRequest)>,
}

impl Lane {
    fn admits(&self, request: &QueueRequest) -> bool {
        let of_group = self.groups.get(&request.group).copied().unwrap_or_default();
        self.running < request.most_of_lane.max(1) && of_group < request.most_of_group.max(1)
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

impl FairQueue {
    /// Creates a queue with the maximum number of running queries, of waiting queries, and of waiting queries in one
    /// lane.
    pub fn new(slots: usize, most_waiting: usize, most_waiting_of_lane: usize) -> Self {
        Self {
            slots: slots.max(1),
            most_waiting,
            most_waiting_of_lane,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            tickets: HashMap::new(),
            running: 0,
            waiting: 0,
            next: 0,
        }
    }

    /// Adds a query, and returns whether it runs (`true`) or waits. Return every ticket with [`FairQueue::leave`],
    /// whether it ran or not.
    ///
    /// # Errors
    /// The query may not even wait.
    pub fn enter(&mut self, request: QueueRequest) -> Result<(Ticket, bool), QueueFull> {
        let lane = self.lanes.entry(Arc::clone(&request.lane)).or_default();
        let runs = self.running < self.slots && lane.admits(&request);
        if !runs {
            let full = match () {
                () if lane.waiting.len() >= self.most_waiting_of_lane => Some(QueueFull::Lane),
                () if self.waiting >= self.most_waiting => Some(QueueFull::Queue),
                () => None,
            };
            if let Some(full) = full {
                self.forget_if_idle(&request.lane);
                return Err(full);
            }
        }
        let ticket = self.next;
        self.next += 1;
        let (of_lane, group) = (Arc::clone(&request.lane), Arc::clone(&request.group));
        self.tickets.insert(ticket, TicketState { lane: of_lane, group, runs });
        if runs {
            self.begin(&request.lane, &request.group);
        } else {
            if lane.waiting.is_empty() {
                self.turns.push_back(Arc::clone(&request.lane));
            }
            lane.waiting.push_back((ticket, request));
            self.waiting += 1;
        }
        Ok((ticket, runs))
    }

    /// Removes a query that ended or gave up waiting. Returns the queries that start in its place.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(state) = self.tickets.remove(&ticket) else { return Vec::new() };
        if let Some(lane) = self.lanes.get_mut(&state.lane) {
            if state.runs {
                self.running -= 1;
                lane.running -= 1;
                if let Some(of_group) = lane.groups.get_mut(&state.group) {
                    *of_group -= 1;
                    if *of_group == 0 {
                        lane.groups.remove(&state.group);
                    }
                }
            } else {
                lane.waiting.retain(|(waiting, _)| *waiting != ticket);
                self.waiting -= 1;
                if lane.waiting.is_empty() {
                    self.turns.retain(|turn| *turn != state.lane);
                }
            }
        }
        self.forget_if_idle(&state.lane);
        self.start_waiting()
    }

    /// The current load.
    pub fn load(&self) -> QueueLoad {
        let (slots, running, waiting) = (self.slots, self.running, self.waiting);
        QueueLoad { slots, running, waiting, lanes_waiting: self.turns.len() }
    }

    /// Maximum number of runs that end before a new query of the lane gets its turn. Used to estimate when to
    /// retry, so it assumes that no cap of the lane delays it.
    pub fn estimated_turns(&self, lane: &str) -> usize {
        let own = self.lanes.get(lane).map_or(0, |lane| lane.waiting.len());
        let others = self.turns.iter().filter(|turn| ***turn != *lane).count();
        // Between two turns of the lane, each other lane has one turn.
        self.waiting.min((own + 1) * (others + 1)) + 1
    }

    /// Starts the waiting queries that can run, in turns.
    fn start_waiting(&mut self) -> Vec<Ticket> {
        let mut started = Vec::new();
        while self.running < self.slots {
            let next = self.turns.iter().enumerate().find_map(|(turn, name)| {
                let lane = self.lanes.get(name)?;
                let at = lane.waiting.iter().position(|(_, request)| lane.admits(request))?;
                Some((turn, at))
            });
            let Some((turn, at)) = next else { break };
            let Some(name) = self.turns.remove(turn) else { break };
            let Some(lane) = self.lanes.get_mut(&name) else { break };
            let Some((ticket, request)) = lane.waiting.remove(at) else { break };
            self.waiting -= 1;
            if !lane.waiting.is_empty() {
                self.turns.push_back(name);
            }
            if let Some(state) = self.tickets.get_mut(&ticket) {
                state.runs = true;
            }
            self.begin(&request.lane, &request.group);
            started.push(ticket);
        }
        started
    }

    fn begin(&mut self, lane: &Arc<str>, group: &Arc<str>) {
        self.running += 1;
        let lane = self.lanes.entry(Arc::clone(lane)).or_default();
        lane.running += 1;
        *lane.groups.entry(Arc::clone(group)).or_default() += 1;
    }

    fn forget_if_idle(&mut self, lane: &Arc<str>) {
        if self.lanes.get(lane).is_some_and(Lane::is_idle) {
            self.lanes.remove(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn request(lane: &str, group: &str, most_of_lane: usize, most_of_group: usize) -> QueueRequest {
        QueueRequest { lane: lane.into(), group: group.into(), most_of_lane, most_of_group }
    }

    fn anybody(lane: &str) -> QueueRequest {
        request(lane, "e", usize::MAX, usize::MAX)
    }

    #[test]
    fn one_with_many_callers_does_not_keep_one_with_one_waiting() {
        let mut queue = FairQueue::new(2, 1_000, 1_000);
        let heavy = (0..500).map(|_| queue.enter(anybody("heavy")).unwrap().0).collect::<Vec<_>>();
        let (light, runs) = queue.enter(anybody("light")).unwrap();
        assert!(!runs);
        // It is the heavy lane's turn, and then the light one's.
        assert_eq!(queue.leave(heavy[0]), [heavy[2]]);
        assert_eq!(queue.leave(heavy[1]), [light]);
        assert_eq!(queue.load(), QueueLoad { slots: 2, running: 2, waiting: 497, lanes_waiting: 1 });
    }

    #[test]
    fn who_may_run_no_more_does_not_hold_up_others() {
        let mut queue = FairQueue::new(3, 10, 10);
        let capped = |group: &str| request("a", group, 2, 1);
        let (first, _) = queue.enter(capped("x")).unwrap();
        let (second, runs) = queue.enter(capped("x")).unwrap();
        assert!(!runs, "one of this endpoint at a time");
        assert!(queue.enter(capped("y")).unwrap().1, "another endpoint of the same principal");
        assert!(queue.enter(anybody("b")).unwrap().1, "another principal");
        assert_eq!(queue.leave(first), [second]);
    }

    #[test]
    fn there_is_a_bound_for_each_and_for_all() {
        let mut queue = FairQueue::new(1, 3, 2);
        queue.enter(anybody("a")).unwrap();
        queue.enter(anybody("a")).unwrap();
        let (waiting, _) = queue.enter(anybody("a")).unwrap();
        assert_eq!(queue.enter(anybody("a")), Err(QueueFull::Lane));
        queue.enter(anybody("b")).unwrap();
        assert_eq!(queue.enter(anybody("c")), Err(QueueFull::Queue));
        // A query that gives up waiting makes room, and starts none.
        assert!(queue.leave(waiting).is_empty());
        assert!(queue.enter(anybody("c")).is_ok());
    }

    #[test]
    fn how_long_it_takes_goes_by_turns() {
        let mut queue = FairQueue::new(1, 100, 100);
        for _ in 0..10 {
            queue.enter(anybody("heavy")).unwrap();
        }
        assert_eq!(queue.estimated_turns("light"), 3);
        assert_eq!(queue.estimated_turns("heavy"), 10);
    }

    #[derive(Clone, Debug)]
    enum QueueStep {
        Enter { lane: u8, group: u8, most_of_lane: usize, most_of_group: usize },
        Leave(usize),
    }

    fn any_queue_step() -> impl Strategy<Value = QueueStep> {
        prop_oneof![
            (0..4_u8, 0..2_u8, 1..4_usize, 1..3_usize).prop_map(|(lane, group, most_of_lane, most_of_group)| {
                QueueStep::Enter { lane, group, most_of_lane, most_of_group }
            }),
            (0..100_usize).prop_map(QueueStep::Leave),
        ]
    }

    proptest! {
        /// The bounds hold, no slot is idle that a waiting query could use, and between two turns of a lane every other
        /// lane that could run has had a turn.
        #[test]
        fn whatever_happens(slots in 1..5_usize, steps in proptest::collection::vec(any_queue_step(), 1..200)) {
            let (most_waiting, of_lane) = (12, 5);
            let mut queue = FairQueue::new(slots, most_waiting, of_lane);
            let mut requests = BTreeMap::<Ticket, (QueueRequest, bool)>::new();
            // The turns of other lanes since a lane's own last turn, while it could run.
            let mut watched = BTreeMap::<Arc<str>, BTreeMap<Arc<str>, usize>>::new();
            for step in steps {
                let started = match step {
                    QueueStep::Enter { lane, group, most_of_lane, most_of_group } => {
                        let request = request(&format!("l{lane}"), &format!("g{group}"), most_of_lane, most_of_group);
                        match queue.enter(request.clone()) {
                            Ok((ticket, runs)) => {
                                requests.insert(ticket, (request, runs));
                            }
                            Err(QueueFull::Lane) => {
                                let own = requests.values().filter(|(other, runs)| !runs && other.lane == request.lane);
                                prop_assert_eq!(own.count(), of_lane);
                            }
                            Err(QueueFull::Queue) => prop_assert_eq!(queue.load().waiting, most_waiting),
                        }
                        Vec::new()
                    }
                    QueueStep::Leave(at) => {
                        let Some(ticket) = requests.keys().nth(at % requests.len().max(1)).copied() else { continue };
                        requests.remove(&ticket);
                        queue.leave(ticket)
                    }
                };
                for ticket in started {
                    let (request, runs) = requests.get_mut(&ticket).expect("who starts has waited");
                    prop_assert!(!*runs);
                    *runs = true;
                    let lane = Arc::clone(&request.lane);
                    watched.remove(&lane);
                    for other in lanes_that_can_run(&requests) {
                        let turns = watched.entry(other).or_default().entry(Arc::clone(&lane)).or_default();
                        *turns += 1;
                        prop_assert!(*turns <= 1, "a lane had two turns while another waited for one");
                    }
                }
                let able = lanes_that_can_run(&requests);
                watched.retain(|lane, _| able.contains(lane));
                let load = queue.load();
                prop_assert_eq!(load.running, requests.values().filter(|(_, runs)| *runs).count());
                prop_assert_eq!(load.waiting, requests.values().filter(|(_, runs)| !*runs).count());
                prop_assert!(load.running <= slots && load.waiting <= most_waiting);
                prop_assert!(load.running == slots || able.is_empty(), "a slot is idle");
            }
            for ticket in requests.keys().copied().collect::<Vec<_>>() {
                queue.leave(ticket);
            }
            prop_assert_eq!(queue.load(), QueueLoad { slots, ..QueueLoad::default() });
            prop_assert!(queue.lanes.is_empty() && queue.tickets.is_empty());
        }
    }

    fn lanes_that_can_run(requests: &BTreeMap<Ticket, (QueueRequest, bool)>) -> BTreeSet<Arc<str>> {
        let running = |is: &dyn Fn(&QueueRequest) -> bool| {
            requests.values().filter(|(request, runs)| *runs && is(request)).count()
        };
        let waiting = requests.values().filter(|(_, runs)| !*runs).filter(|(request, _)| {
            running(&|other| other.lane == request.lane) < request.most_of_lane
                && running(&|other| other.lane == request.lane && other.group == request.group) < request.most_of_group
        });
        waiting.map(|(request, _)| Arc::clone(&request.lane)).collect()
    }
}
