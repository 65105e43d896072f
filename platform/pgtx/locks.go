package pgtx

// LockNotGot reports whether a statement ended because others held locks: after its
// lock_timeout, or to end a deadlock.
func LockNotGot(err error) bool {
	s := state(err)
	return s == "55P03" || s == "40P01" // lock_not_available, deadlock_detected
}
