//! Random operations with random faults, against a model of what must be. `SEED=n` repeats a run,
//! `OPERATIONS=n` makes it longer.

use std::collections::BTreeMap;

use driver::ErrorKind;
use driver::memory::{Call, Fault};
use model::Bytes;
use orchestrator::{Orchestrator, Request};

use crate::house::*;

/// What a user believes to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Believed {
    size: u64,
    content: u64,
    options: model::VolumeOptions,
    published: bool,
    /// Content, size, and whether it was taken with those of others.
    snapshots: BTreeMap<String, (u64, u64, bool)>,
}

type World = BTreeMap<String, Believed>;

/// A small generator of our own sequence, so that a seed means the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.roll(words.len() as u64)).unwrap()]
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SNAPSHOTS: [&str; 3] = ["s", "t", "u"];
const CALLS: [Call; 14] = [
    Call::Observe,
    Call::Create,
    Call::Delete,
    Call::Permit,
    Call::Forbid,
    Call::Grow,
    Call::Modify,
    Call::Take,
    Call::TakeGroup,
    Call::DeleteGroup,
    Call::DeleteSnapshot,
    Call::ListSnapshots,
    Call::Restore,
    Call::Clone,
];

pub fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    variable("SEED", u64::from(now.subsec_nanos()) + 1)
}

#[test]
fn ten_thousand_random_operations_with_faults_and_deaths_keep_every_promise() {
    let seed = seed();
    let operations = variable("OPERATIONS", 10_000);
    println!("SEED={seed} OPERATIONS={operations}");
    let mut dice = Dice(seed);
    let house = House::of(Bytes::gib(64));
    let mut world = World::new();
    let mut done = 0;
    let mut deaths = 0;
    let mut interrupted = None;
    // One life of the process after the other: each ends by a death or after some time.
    while done < operations {
        interrupted = block_on(async {
            house.faults().lift();
            let o = house.open().await;
            settled(&o).await;
            agree(&house, &o, &mut world, interrupted.take(), seed);
            for _ in 0..200 {
                done += 1;
                let death = one(&house, &o, &mut world, &mut dice, seed).await;
                if death.is_some() {
                    deaths += 1;
                    return death;
                }
            }
            o.stop().await;
            None
        });
    }
    println!("{done} operations, {deaths} deaths, {} volumes at the end", world.len());
    assert!(deaths > 0, "the process never died: the test tests too little");
}

#[test]
fn a_storm_of_users_on_the_same_volumes_leaves_records_and_array_in_agreement() {
    let seed = seed();
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    block_on(async {
        let house = House::of(Bytes::gib(64));
        let o = house.open().await;
        for _ in 0..10 {
            let mut users = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let requests: Vec<Request> = (0..20).map(|_| roll(&mut dice)).collect();
                let o = o.clone();
                users.spawn(async move {
                    for request in requests {
                        // Refusals are part of the game; what counts is what is left at the end.
                        let _ = run(&o, request).await;
                    }
                });
            }
            for call in CALLS {
                house.faults().plan(call, 1 + dice.roll(20), Fault::LoseReply);
            }
            users.join_all().await;
            settled(&o).await;
            house.check(&o);
        }
    });
}

fn roll(dice: &mut Dice) -> Request {
    let name = dice.pick(&NAMES);
    let snapshot = dice.pick(&SNAPSHOTS);
    let size = Bytes::gib(1 + dice.roll(8));
    match dice.roll(13) {
        0 | 1 => create(name, size),
        2 => delete(name),
        3 => grow(name, size),
        4 => take(name, snapshot),
        5 => Request::DeleteSnapshot { volume: id(name), snapshot: snap(snapshot) },
        6 => restore(name, snapshot),
        7 => clone(name, dice.pick(&NAMES), (dice.roll(2) == 0).then_some(snapshot)),
        8 => modify(name, dice.pick(&["0700", "0750", "0777"])),
        9 => publish(name, "n1"),
        10 => take_group(&[name, dice.pick(&NAMES)], snapshot),
        11 => delete_group(&[name, dice.pick(&NAMES), dice.pick(&NAMES)], snapshot),
        _ => unpublish(name, "n1"),
    }
}

/// One operation. If the process dies in it: what it was, and the world if it was done.
async fn one(
    house: &House,
    o: &Orchestrator,
    world: &mut World,
    dice: &mut Dice,
    seed: u64,
) -> Option<(Request, World)> {
    let name = dice.pick(&NAMES);
    if dice.roll(4) == 0
        && let Some(volume) = world.get_mut(name)
    {
        volume.content = dice.roll(1 << 32);
        house.array.write(&handle(name), volume.content);
        return None;
    }
    let request = roll(dice);
    let mut dies = false;
    match dice.roll(6) {
        0 => {
            let call = CALLS[usize::try_from(dice.roll(CALLS.len() as u64)).unwrap()];
            let fault = match dice.roll(4) {
                0 => Fault::Refuse(ErrorKind::Internal),
                1 => Fault::Refuse(ErrorKind::Unreachable),
                2 => Fault::Refuse(ErrorKind::Busy),
                _ => Fault::LoseReply,
            };
            if dice.roll(4) == 0 {
                house.faults().always(call, fault);
            } else {
                house.faults().plan(call, 1 + dice.roll(2), fault);
            }
        }
        1 if dice.roll(3) == 0 => {
            house.faults().die_at(1 + dice.roll(12));
            dies = true;
        }
        _ => {}
    }
    let mut wished = world.clone();
    apply(&mut wished, &request);
    let result = tokio::select! {
        biased;
        () = house.faults().died(), if dies => {
            return Some((request, wished));
        }
        result = run(o, request.clone()) => result,
    };
    house.faults().revive();
    house.faults().lift();
    settled(o).await;
    match result {
        Ok(()) => {
            *world = wished;
            agree(house, o, world, None, seed);
        }
        // It failed: done or not done, but nothing between, and nothing else touched.
        Err(_) => agree(house, o, world, Some((request, wished)), seed),
    }
    None
}

/// What a success means.
fn apply(world: &mut World, request: &Request) {
    let name = request.volume().to_string();
    match request {
        Request::Create(create) => {
            let size = create.size.map_or(Bytes::gib(1).get(), Bytes::get);
            let fresh = match &create.source {
                None => Some(Believed { size, ..Believed::default() }),
                // A clone is as its source, where nobody says otherwise.
                Some(source) => world
                    .get(source.volume.as_str())
                    .and_then(|origin| match &source.snapshot {
                        None => Some((origin, origin.content, origin.size)),
                        Some(snapshot) => origin
                            .snapshots
                            .get(snapshot.as_str())
                            .map(|(content, size, _)| (origin, *content, *size)),
                    })
                    .map(|(origin, content, size)| {
                        let options = origin.options.clone();
                        Believed { size, content, options, ..Believed::default() }
                    }),
            };
            if let Some(fresh) = fresh {
                world.entry(name).or_insert(fresh);
            }
        }
        Request::Delete { .. } => {
            world.remove(&name);
        }
        Request::Grow { size, .. } => {
            if let Some(volume) = world.get_mut(&name) {
                volume.size = size.get();
            }
        }
        Request::Modify { changes, .. } => {
            if let Some(volume) = world.get_mut(&name) {
                volume.options.extend(changes.clone());
            }
        }
        Request::Take { snapshot, .. } => {
            if let Some(volume) = world.get_mut(&name) {
                let picture = (volume.content, volume.size, false);
                volume.snapshots.entry(snapshot.to_string()).or_insert(picture);
            }
        }
        Request::TakeGroup { volume, others, snapshot } => {
            for member in others.iter().chain([volume]) {
                if let Some(volume) = world.get_mut(member.as_str()) {
                    let picture = (volume.content, volume.size, true);
                    volume.snapshots.entry(snapshot.to_string()).or_insert(picture);
                }
            }
        }
        Request::DeleteGroup { volume, others, snapshot } => {
            for member in others.iter().chain([volume]) {
                if let Some(volume) = world.get_mut(member.as_str()) {
                    volume.snapshots.retain(|name, (_, _, together)| name != snapshot.as_str() || !*together);
                }
            }
        }
        Request::DeleteSnapshot { snapshot, .. } => {
            if let Some(volume) = world.get_mut(&name) {
                volume.snapshots.remove(snapshot.as_str());
            }
        }
        Request::Restore { snapshot, .. } => {
            if let Some(volume) = world.get_mut(&name)
                && let Some((content, _, _)) = volume.snapshots.get(snapshot.as_str())
            {
                volume.content = *content;
            }
        }
        Request::Publish { .. } => {
            if let Some(volume) = world.get_mut(&name) {
                volume.published = true;
            }
        }
        Request::Unpublish { .. } => {
            if let Some(volume) = world.get_mut(&name) {
                volume.published = false;
            }
        }
        other => panic!("not rolled: {other:?}"),
    }
}

/// The array and the records are as believed. After a failure or a death the volume in question may be as
/// before or as wished; what it is becomes the belief.
fn agree(house: &House, o: &Orchestrator, world: &mut World, failed: Option<(Request, World)>, seed: u64) {
    house.check(o);
    let mut real = World::new();
    for record in o.catalogue().volumes() {
        let snapshots = o
            .catalogue()
            .snapshots_of(&record.id)
            .map(|s| {
                let content = house.array.read_snapshot(&record.handle, &s.name).unwrap();
                (s.name.to_string(), (content, s.size.get(), s.group.is_some()))
            })
            .collect();
        let volume = Believed {
            size: record.spec.size.get(),
            content: house.array.read(&record.handle).unwrap(),
            options: record.spec.options.clone(),
            published: !record.published.is_empty(),
            snapshots,
        };
        real.insert(record.id.to_string(), volume);
    }
    match failed {
        Some((request, wished)) => {
            assert!(
                real == *world || real == wished,
                "SEED={seed}: after a failed {request:?}\nreal   {real:?}\nbefore {world:?}\nwished {wished:?}"
            );
        }
        None => assert_eq!(real, *world, "SEED={seed}"),
    }
    *world = real;
}
