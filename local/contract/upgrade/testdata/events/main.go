// Command events runs in the events module of an earlier release. It answers each event
// on a line of its input with a line: what that release's code makes of it. Without
// input, given "samples", it writes the release's samples.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"log"
	"os"
	"time"

	"github.com/google/uuid"

	"quadrille.internal/events"
	_ "quadrille.internal/events/all"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if len(os.Args) > 1 && os.Args[1] == "samples" {
		for _, def := range events.Definitions() {
			raw, err := events.Encode(uuid.Must(uuid.NewV7()), def.Owner, time.Now(), "", def.Sample)
			if err != nil {
				log.Fatal(err)
			}
			out.Write(append(raw, '\n'))
		}
		return
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		_, _, err := events.Decode(in.Bytes())
		answer := struct {
			Unknown bool
			Err     string
		}{Unknown: errors.Is(err, events.ErrUnknownType)}
		if err != nil {
			answer.Err = err.Error()
		}
		if err := json.NewEncoder(out).Encode(answer); err != nil {
			log.Fatal(err)
		}
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
}
