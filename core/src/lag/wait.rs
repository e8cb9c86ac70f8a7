//! The meaning of the wait events of apply workers and walsenders.

/// What an apply worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerWait {
    /// For the publisher's next message. Everything before it is applied (`LogicalApplyMain`).
    Messages,
    /// For work, in another main loop.
    Activity,
    /// For a heavyweight lock that another session holds.
    Lock,
    /// Running, or waiting for I/O or another worker: it makes progress.
    Working,
}

impl WorkerWait {
    /// Reads `wait_event_type` and `wait_event` of pg_stat_activity. Both are NULL while the
    /// process is running.
    ///
    /// Since 16 a leader waits for its parallel worker in a heavyweight lock of type
    /// `applytransaction` (applyparallelworker.c). That counts as work.
    pub fn parse(kind: Option<&str>, event: Option<&str>) -> Self {
        match (kind, event) {
            (Some("Activity"), Some("LogicalApplyMain")) => Self::Messages,
            (Some("Activity"), _) => Self::Activity,
            (Some("Lock"), Some("applytransaction")) => Self::Working,
            (Some("Lock"), _) => Self::Lock,
            _ => Self::Working,
        }
    }

    pub fn is_activity(self) -> bool {
        matches!(self, Self::Messages | Self::Activity)
    }
}

/// What a walsender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderWait {
    /// For WAL, or for its client to send or receive data: nothing is left to decode.
    Client,
    /// For a standby in `synchronized_standby_slots` to confirm (17 and later).
    Standby,
    /// It reads or decodes WAL.
    Decoding,
}

impl SenderWait {
    /// Reads `wait_event`, which is NULL while the process is running. `WalSenderWaitForWal` was
    /// `WalSenderWaitForWAL` up to 16.
    pub fn parse(event: Option<&str>) -> Self {
        match event {
            Some(
                "WalSenderMain"
                | "WalSenderWriteData"
                | "WalSenderWaitForWal"
                | "WalSenderWaitForWAL",
            ) => Self::Client,
            Some("WaitForStandbyConfirmation") => Self::Standby,
            _ => Self::Decoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_waits_for_its_parallel_worker_is_working() {
        let parse = |kind, event| WorkerWait::parse(Some(kind), Some(event));
        assert_eq!(parse("Lock", "applytransaction"), WorkerWait::Working);
        assert_eq!(parse("Lock", "relation"), WorkerWait::Lock);
        assert_eq!(parse("IPC", "LogicalSyncStateChange"), WorkerWait::Working);
        assert_eq!(WorkerWait::parse(None, None), WorkerWait::Working);
        assert_eq!(parse("Activity", "LogicalApplyMain"), WorkerWait::Messages);
        assert!(parse("Activity", "LogicalApplyMain").is_activity());
        assert!(parse("Activity", "SomethingNew").is_activity());
    }

    #[test]
    fn a_walsender_decodes_unless_it_waits_for_its_client() {
        for event in ["WalSenderMain", "WalSenderWriteData", "WalSenderWaitForWAL"] {
            assert_eq!(SenderWait::parse(Some(event)), SenderWait::Client);
        }
        assert_eq!(SenderWait::parse(Some("WalSenderWaitForWal")), SenderWait::Client);
        assert_eq!(SenderWait::parse(Some("WaitForStandbyConfirmation")), SenderWait::Standby);
        assert_eq!(SenderWait::parse(Some("WALRead")), SenderWait::Decoding);
        assert_eq!(SenderWait::parse(None), SenderWait::Decoding);
    }
}
