// Package port keeps ports free for programs that cannot be handed an open one. A port on which
// nobody listens may be another's a moment later, when two programs start at the same time.
package port

import (
	"fmt"
	"net"
	"strconv"
)

// The kernel gives none of these to who asks for any port, and stacks have others.
const first, last = 15_000, 15_999

// Kept is an address of this machine that no other process keeps.
type Kept struct {
	Addr  string
	claim net.Listener
}

// Keep returns an address on which nobody listens. It stays the caller's until Release, or the
// end of the process.
func Keep() (Kept, error) {
	for number := first; number <= last; number++ {
		// Nothing is sent there: it is a name that one process can have at a time.
		claim, err := net.Listen("unix", fmt.Sprintf("@quadrille-port-%d", number))
		if err != nil {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(number))
		if ln, err := net.Listen("tcp", addr); err == nil {
			return Kept{addr, claim}, ln.Close()
		}
		_ = claim.Close() // somebody listens there who keeps nothing
	}
	return Kept{}, fmt.Errorf("none of the ports %d to %d is free", first, last)
}

// Release lets others have the port.
func (k Kept) Release() error { return k.claim.Close() }
