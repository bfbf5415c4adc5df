//! Messages of the `pgoutput` plug-in.
