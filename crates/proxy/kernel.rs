//! What no library offers safely: all unsafe lines of the project, each with its proof.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime of this thread.
///
/// # Errors
/// When this thread has no runtime, or the system cannot watch the descriptor.
#[expect(unsafe_code, reason = "tokio cannot check what it asks for; an OwnedFd fulfils it")]
pub fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor has to stay open and the same until it is deregistered. An `OwnedFd` never changes its
    // descriptor and closes it only when dropped; it lives inside the `AsyncFd`, which deregisters before it drops or
    // returns it and lends it out by shared reference alone, by which it can be neither replaced nor closed.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Gives this thread the policy SCHED_BATCH (sched(7)): when it wakes up it does not interrupt who is at work on its
/// core, and so finds more to do at once.
///
/// # Errors
/// When the system has no such policy, or does not allow it.
#[expect(unsafe_code, reason = "no library of ours has the call")]
pub fn schedule_in_batches() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one `sched_param` from a pointer to one that outlives the call, and writes nothing of
    // ours. 0 stands for this thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
