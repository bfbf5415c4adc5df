//! The source against a real PostgreSQL server, which each test starts for itself.
//!
//! `TOWPATH_TEST_PG15` and `TOWPATH_TEST_PG18` name the folders with the servers' programs; without the
//! former, Debian's `/usr/lib/postgresql/15/bin` is taken. Without a server these tests fail.

#[cfg(test)]
mod backlog;
#[cfg(test)]
mod beats;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod big;
#[cfg(test)]
mod binary;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod cuts;
#[cfg(test)]
mod deletes;
#[cfg(test)]
mod failovers;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod insurance;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod rebuilt;
#[cfg(test)]
mod server;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod source;
#[cfg(test)]
mod unreadable;
#[cfg(test)]
mod values;
#[cfg(test)]
mod workload;
