// Package journal keeps the state of a stand-in in one append-only file of lines,
// durable before anybody is told.
package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ErrClosed reports a line that came after Close.
var ErrClosed = errors.New("journal is closed")

// Journal is an append-only file of lines. One goroutine writes all lines that
// wait and makes them durable with a single fsync, so that the cost of the
// disk is shared by however many requests come while it is busy.
type Journal struct {
	file    *os.File
	wake    chan struct{} // holds a token whenever pending may have lines
	stopped chan struct{}
	failed  chan struct{}

	mu      sync.Mutex
	pending *batch
	err     error // why nothing may be appended any more
}

// batch is what one fsync makes durable; err is valid once done is closed.
type batch struct {
	lines   []byte
	durable []func()
	done    chan struct{}
	err     error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// Open locks the file, hands every complete line to replay and cuts off
// a last line that a crash left unfinished: nobody was told of it.
func Open(path string, log *slog.Logger, replay func([]byte) error) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	if err := recoverFile(file, log, replay); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	j := &Journal{
		file:    file,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		failed:  make(chan struct{}),
		pending: newBatch(),
	}
	go j.run()
	return j, nil
}

func recoverFile(file *os.File, log *slog.Logger, replay func([]byte) error) error {
	// The kernel drops the lock with the process, so kill -9 leaves none behind.
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("lock state file %s (does another server use it?): %w", file.Name(), err)
	}
	whole, torn, err := readLines(file, replay)
	if err != nil {
		return fmt.Errorf("replay state file %s: %w", file.Name(), err)
	}
	if torn > 0 {
		log.Warn("cut off a torn last line", "file", file.Name(), "bytes", torn)
		if err := file.Truncate(whole); err != nil {
			return fmt.Errorf("cut off torn line: %w", err)
		}
	}
	return syncFile(file)
}

// syncFile makes the file and its name durable: lines written just before a
// crash were replayed from the page cache, and may be answered from now on.
func syncFile(file *os.File) error {
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync state file: %w", err)
	}
	dir, err := os.Open(filepath.Dir(file.Name()))
	if err != nil {
		return fmt.Errorf("open state folder: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync state folder: %w", err)
	}
	return nil
}

// readLines returns the bytes of complete lines and of what follows them.
func readLines(r io.Reader, replay func([]byte) error) (whole, torn int64, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return whole, int64(len(line)), nil
		}
		if err != nil {
			return 0, 0, err
		}
		if err := replay(line); err != nil {
			return 0, 0, fmt.Errorf("line %d: %w", n, err)
		}
		whole += int64(len(line))
	}
}

// Append returns once the line is on disk and durable has run. Lines become
// durable, and their functions run, in the order of the file.
func (j *Journal) Append(line []byte, durable func()) error {
	b, err := j.enqueue(line, durable)
	if err != nil {
		return err
	}
	<-b.done
	return b.err
}

func (j *Journal) enqueue(line []byte, durable func()) (*batch, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return nil, j.err
	}
	b := j.pending
	b.lines = append(append(b.lines, line...), '\n')
	b.durable = append(b.durable, durable)
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return b, nil
}

func (j *Journal) run() {
	defer close(j.stopped)
	for range j.wake {
		b := j.take()
		if b.err == nil {
			b.err = j.write(b.lines)
		}
		if b.err == nil {
			for _, f := range b.durable {
				f()
			}
		}
		close(b.done)
	}
}

func (j *Journal) take() *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.pending
	j.pending = newBatch()
	select {
	case <-j.failed:
		b.err = j.err // lines that came in while the last write failed
	default:
	}
	return b
}

// write is final when it fails: after a failed fsync nobody knows what the
// disk holds, and only reading the file again can tell.
func (j *Journal) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := j.file.Write(lines)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.err = fmt.Errorf("state file failed: %w", err)
		close(j.failed)
		return j.err
	}
	return nil
}

// Close writes what is waiting and gives up the lock.
func (j *Journal) Close() error {
	j.mu.Lock()
	already := errors.Is(j.err, ErrClosed)
	if !already {
		j.err = errors.Join(j.err, ErrClosed)
		close(j.wake)
	}
	j.mu.Unlock()
	<-j.stopped
	if already {
		return nil
	}
	return j.file.Close()
}

// Failed is closed once the file could not be written. From then on nothing can
// be appended: what reached the disk is known only after a restart.
func (j *Journal) Failed() <-chan struct{} { return j.failed }
