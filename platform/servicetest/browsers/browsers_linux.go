// Package browsers is many browsers that read event streams. One thread reads for all of them, so
// that they cost little beside what is measured. It wants as many files as there are browsers.
package browsers

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// ofAddress is how many browsers one address has, as many as the gateway takes of one.
	ofAddress = 30
	// atOnce is how many ask and have no answer yet, and patience how long one may take.
	atOnce   = 100
	patience = time.Minute
)

// Crowd is the browsers. Each reads `"available":` and a number of every frame.
type Crowd struct {
	poll int
	done chan struct{}

	mu      sync.Mutex
	open    map[int32]*browser
	stopped bool
	stats   Stats
}

// browser is one connection.
type browser struct {
	available int64
	// rest is a piece of a frame whose end has not come.
	rest []byte
}

// Stats is what the crowd read.
type Stats struct {
	// Frames are counted that tell a number.
	Frames int64
	// Answered are the browsers whose answer began.
	Answered int64
	// Ended are the connections that the server closed, Strange the answers that were no streams.
	Ended, Strange int64
	// CPU is that of the thread that reads.
	CPU time.Duration
	// Took counts frames by milliseconds, where numbers are times in Unix microseconds.
	Took [10_000]int64
}

// At returns the time that a share of the frames took at most.
func (s *Stats) At(share float64) time.Duration {
	var all, so int64
	for _, n := range s.Took {
		all += n
	}
	for ms, n := range s.Took {
		if so += n; so > 0 && float64(so) >= share*float64(all) {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 0
}

// Open has n browsers ask a server of the loopback network for a path. They come from
// addresses of their own, 30 from each.
func Open(server netip.AddrPort, path string, n int) (*Crowd, error) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch connections: %w", err)
	}
	c := &Crowd{poll: poll, done: make(chan struct{}), open: make(map[int32]*browser)}
	go c.read()
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, server)
	for i := range n {
		if err := c.connect(server, i/ofAddress, request); err != nil {
			c.Close()
			return nil, fmt.Errorf("browser %d: %w", i, err)
		}
		if err := c.answered(i - atOnce); err != nil {
			c.Close()
			return nil, err
		}
	}
	if err := c.answered(n); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

var errNoAnswer = errors.New("browsers got no answer")

// answered waits until so many browsers had an answer, whatever it was.
func (c *Crowd) answered(n int) error {
	for began := time.Now(); ; time.Sleep(time.Millisecond) { //nolint:forbidigo // it polls until a deadline
		s := c.Stats(false)
		if s.Answered >= int64(n) {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("%w: %d had one, %d of them were refused, %d connections ended", errNoAnswer, s.Answered, s.Strange, s.Ended)
		}
	}
}

func (c *Crowd) connect(server netip.AddrPort, address int, request []byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	from := &syscall.SockaddrInet4{Addr: [4]byte{127, 1, byte(address / 250), byte(1 + address%250)}} //nolint:gosec // tests have fewer than 60,000 addresses
	if err = syscall.Bind(fd, from); err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Addr: server.Addr().As4(), Port: int(server.Port())})
	}
	if err == nil {
		_, err = syscall.Write(fd, request)
	}
	if err != nil {
		return errors.Join(err, syscall.Close(fd))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[int32(fd)] = &browser{available: -1}                                                                             //nolint:gosec // a file of this process
	return syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // as above
}

// read reads until Close.
func (c *Crowd) read() {
	runtime.LockOSThread() // its time is counted; the thread ends with it
	defer close(c.done)
	events, buffer := make([]syscall.EpollEvent, 1024), make([]byte, 64<<10)
	const often = 100 // milliseconds
	for {
		n, err := syscall.EpollWait(c.poll, events, often)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			panic(err) // which has no cause but a mistake here
		}
		if c.take(events[:max(n, 0)], buffer) {
			return
		}
	}
}

// take reads what has come. It returns true after Close.
func (c *Crowd) take(events []syscall.EpollEvent, buffer []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return true
	}
	for _, e := range events {
		b := c.open[e.Fd]
		n, err := syscall.Read(int(e.Fd), buffer)
		if err != nil || n == 0 {
			delete(c.open, e.Fd)
			_ = syscall.Close(int(e.Fd)) // nothing is lost with it
			c.stats.Ended++
			continue
		}
		c.frames(b, buffer[:n])
	}
	const ofThread = 1 // RUSAGE_THREAD
	var used syscall.Rusage
	_ = syscall.Getrusage(ofThread, &used) // it has no reason to fail
	c.stats.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return false
}

var (
	told     = []byte(`"available":`)
	endOfOne = []byte("\n\n")
	status   = []byte("HTTP/1.1 ")
)

// frames reads what has come to a browser.
func (c *Crowd) frames(b *browser, text []byte) {
	if answer, first := bytes.CutPrefix(text, status); first {
		c.stats.Answered++
		if !bytes.HasPrefix(answer, []byte("200")) {
			c.stats.Strange++
		}
	}
	if len(b.rest) > 0 {
		text = append(b.rest, text...)
		b.rest = nil
	}
	for {
		end := bytes.Index(text, endOfOne)
		if end < 0 {
			break
		}
		c.frame(b, text[:end])
		text = text[end+len(endOfOne):]
	}
	if len(text) > len("\r\n") { // more than the end of a chunk
		b.rest = bytes.Clone(text)
	}
}

func (c *Crowd) frame(b *browser, text []byte) {
	_, number, found := bytes.Cut(text, told)
	digits := bytes.IndexFunc(number, func(r rune) bool { return r < '0' || r > '9' })
	if !found || digits <= 0 {
		return
	}
	available, err := strconv.ParseInt(string(number[:digits]), 10, 64)
	if err != nil {
		return
	}
	c.stats.Frames++
	b.available = available
	took := time.Since(time.UnixMicro(available)).Milliseconds()
	c.stats.Took[min(max(0, took), int64(len(c.stats.Took)-1))]++
}

// Stats returns what was read, and with reset begins to count again.
func (c *Crowd) Stats(reset bool) Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	if reset {
		c.stats = Stats{Answered: s.Answered, Ended: s.Ended, Strange: s.Strange, CPU: s.CPU}
	}
	return s
}

// Having returns how many browsers were told a number last.
func (c *Crowd) Having(available int64) (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.open {
		if b.available == available {
			n++
		}
	}
	return n
}

// Close closes the connections.
func (c *Crowd) Close() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	<-c.done
	for fd := range c.open {
		_ = syscall.Close(int(fd)) // nothing is lost with it
	}
	_ = syscall.Close(c.poll)
}
