"""One machine's part in failure detection: it probes the machines that the engine leader named, and reports those that do not answer."""
