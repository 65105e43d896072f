// Package traces keeps the spans that services send by OTLP over HTTP, as a tracing system
// would: in files, the newest of them, for quad order show --trace.
package traces

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"quadrille.internal/quad/traces"
)

// maxFile is when a file is full. Two are kept.
const maxFile = 64 << 20

// store is a file of spans, a line each, and the one before it.
type store struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

func openStore(dir string, most int64) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &store{path: filepath.Join(dir, "spans.jsonl"), max: most}
	return s, s.open()
}

func (s *store) open() error {
	file, err := os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.file, s.size = file, info.Size()
	if s.size == 0 {
		return nil
	}
	n, err := file.WriteString("\n") // ends what a collector that was killed has left of a line
	s.size += int64(n)
	return err
}

func (s *store) before() string { return s.path + ".before" }

// add writes spans down.
func (s *store) add(spans []traces.Span) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, span := range spans {
		if err := encoder.Encode(span); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size > 0 && s.size+int64(lines.Len()) > s.max {
		if err := errors.Join(s.file.Close(), os.Rename(s.path, s.before()), s.open()); err != nil {
			return fmt.Errorf("begin another file of spans: %w", err)
		}
	}
	n, err := s.file.Write(lines.Bytes())
	s.size += int64(n)
	return err
}

// find returns the spans of a trace, and those that link to it.
func (s *store) find(traceID string) ([]traces.Span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []traces.Span{}
	for _, path := range []string{s.before(), s.path} {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found, err = scan(file, traceID, found)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return found, nil
}

// scan adds the spans in whose lines a trace is named, but for lines that are no span: a
// collector that was killed may have written a part of one.
func scan(file *os.File, traceID string, found []traces.Span) ([]traces.Span, error) {
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(traceID)) {
			continue
		}
		var span traces.Span
		if json.Unmarshal(lines.Bytes(), &span) == nil {
			found = append(found, span)
		}
	}
	return found, lines.Err()
}

const maxLine = 1 << 20

func (s *store) close() error { return s.file.Close() }
