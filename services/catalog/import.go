package catalog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
)

const (
	importBatch = 500
	// importPause is how long the next line, or the answer, may take.
	importPause = 30 * time.Second
	// maxTold is how many refused lines an answer lists.
	maxTold = 100
)

// importView is what became of the lines of an import.
type importView struct {
	Lines     int           `json:"lines"`
	Created   int           `json:"created"`
	Changed   int           `json:"changed"`
	Unchanged int           `json:"unchanged"`
	Refused   int           `json:"refused"`
	Problems  []problemView `json:"problems"`
}

// problemView says why a line was refused.
type problemView struct {
	Line    int    `json:"line"`
	Code    string `json:"code"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// importProducts writes products, one a line of JSON, as they come. Each batch is committed by
// itself: a request that breaks off has written what came before, and may be sent again.
func (s *server) importProducts(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context() // and not that of a request that is answered at once
	s.api.Handle(func(w http.ResponseWriter, r *http.Request) error {
		if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/x-ndjson" {
			return fault.New(fault.Unsupported, "media_type", "Send JSON Lines as Content-Type: application/x-ndjson.")
		}
		in := importing{server: s, control: http.NewResponseController(w), trace: telemetry.TraceParent(ctx)}
		in.view.Problems = []problemView{}
		if err := in.read(ctx, r.Body); err != nil {
			return err
		}
		return rest.Write(w, http.StatusOK, in.view)
	})(w, r)
}

// importing is one import.
type importing struct {
	*server
	control *http.ResponseController
	trace   string
	view    importView
	batch   []entry
	lines   []int // of the entries
	named   map[string]bool
}

func (in *importing) read(ctx context.Context, body io.Reader) error {
	in.extend()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, rest.MaxBody)
	for lines.Scan() {
		in.view.Lines++
		if text := bytes.TrimSpace(lines.Bytes()); len(text) > 0 {
			if err := in.add(ctx, text); err != nil {
				return err
			}
		}
	}
	// What came before a line that breaks off is written, as the answer says.
	if err := in.flush(ctx); err != nil {
		return err
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fault.New(fault.TooLarge, "line_too_large", "Line %d is larger than %d bytes. Those before it are written.", in.view.Lines+1, rest.MaxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Invalid, "body_too_slow", "The next line did not arrive within %s. Those before it are written.", importPause)
	case err != nil:
		return fault.New(fault.Invalid, "body_unreadable", "The body could not be read to its end.")
	}
	return nil
}

// extend gives the next batch its time. A server's own limits are for one short request.
func (in *importing) extend() {
	until := time.Now().Add(importPause)
	_ = in.control.SetReadDeadline(until) // not every ResponseWriter in tests has deadlines
	_ = in.control.SetWriteDeadline(until)
}

func (in *importing) add(ctx context.Context, text []byte) error {
	e, err := readEntry(text)
	if err != nil {
		in.refuse(in.view.Lines, err)
		return nil
	}
	// A product that comes twice is changed twice, one after the other.
	if in.named[e.id] || len(in.batch) == importBatch {
		if err := in.flush(ctx); err != nil {
			return err
		}
	}
	if in.named == nil {
		in.named = make(map[string]bool, importBatch)
	}
	in.batch, in.lines, in.named[e.id] = append(in.batch, e), append(in.lines, in.view.Lines), true
	return nil
}

// readEntry reads a line.
func readEntry(text []byte) (e entry, err error) {
	var line struct {
		ID string `json:"id"`
		Content
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		return e, fault.New(fault.Invalid, "body_malformed", "The line is not the JSON of a product: %s.", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, fault.New(fault.Invalid, "body_malformed", "The line holds more than one JSON value.")
	}
	if err := events.CheckName("id", line.ID); err != nil {
		return e, err
	}
	if err := line.check(); err != nil {
		return e, err
	}
	line.normalize()
	return entry{line.ID, line.Content}, nil
}

// refuse notes why a line is not written. Its errors are those of checks.
func (in *importing) refuse(line int, err error) {
	in.view.Refused++
	if len(in.view.Problems) >= maxTold {
		return
	}
	p := problemView{Line: line}
	if v, ok := errors.AsType[*events.Violation](err); ok {
		p.Code, p.Field, p.Message = v.Code, v.Field, v.Message
	} else {
		f := fault.Of(err)
		p.Code, p.Field, p.Message = f.Code, f.Field, f.Message
	}
	in.view.Problems = append(in.view.Problems, p)
}

// flush writes the batch.
func (in *importing) flush(ctx context.Context) error {
	if len(in.batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, importPause)
	defer cancel()
	outcomes, err := putProducts(ctx, in.outbox, in.trace, in.batch)
	if err != nil {
		return err
	}
	for i, o := range outcomes {
		switch {
		case o.refused != nil:
			in.refuse(in.lines[i], o.refused)
		case o.created:
			in.view.Created++
		case o.changed:
			in.view.Changed++
		default:
			in.view.Unchanged++
		}
	}
	in.changed()
	in.extend()
	in.batch, in.lines, in.named = in.batch[:0], in.lines[:0], nil
	return nil
}
