package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// record is a message as it lies on Kafka.
type record struct {
	topic      string
	partition  int
	key, value string
	headers    []string // name=value, sorted
}

// records are those of a topic, as the broker has them on disk, by partition and oldest
// first.
func (s *system) records(t *testing.T, topic string) []record {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.Dir, "kafka", "data", topic+"-*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var found []record
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(log))
		partition, err := strconv.Atoi(name[strings.LastIndex(name, "-")+1:])
		if err != nil || name != fmt.Sprintf("%s-%d", topic, partition) {
			continue
		}
		for _, r := range decodeLog(t, text) {
			r.topic, r.partition = topic, partition
			found = append(found, r)
		}
	}
	return found
}

// Of a batch of Kafka's format 2 before its records: where its length ends, its attributes
// are, and it is over. Kafka writes batches whole, so what is cut off is still being written.
const (
	batchLength = 12
	batchFlags  = 21
	batchHeader = 61

	flagControl     = 0x20 // the end of a transaction: no records of anybody's
	flagCompression = 0x07
)

func decodeLog(t *testing.T, log []byte) (found []record) {
	t.Helper()
	for len(log) >= batchHeader {
		size := batchLength + int(binary.BigEndian.Uint32(log[8:]))
		if size <= batchHeader || size > len(log) { // room that the broker has set aside
			return found
		}
		flags := binary.BigEndian.Uint16(log[batchFlags:])
		if flags&flagCompression != 0 {
			t.Fatalf("a batch is compressed: %x", flags)
		}
		if flags&flagControl == 0 {
			found = append(found, decodeBatch(t, log[batchHeader:size])...)
		}
		log = log[size:]
	}
	return found
}

func decodeBatch(t *testing.T, text []byte) (found []record) {
	t.Helper()
	in := bytes.NewReader(text)
	number := func() int {
		n, err := binary.ReadVarint(in)
		if err != nil {
			t.Fatalf("read a record: %v", err)
		}
		return int(n)
	}
	field := func() string {
		n := number()
		if n < 0 {
			return "(none)"
		}
		value := make([]byte, n)
		if _, err := in.Read(value); err != nil && n > 0 {
			t.Fatalf("read a record: %v", err)
		}
		return string(value)
	}
	for in.Len() > 0 {
		number() // its length
		if _, err := in.ReadByte(); err != nil {
			t.Fatal(err)
		}
		number() // time and offset, as differences
		number()
		r := record{key: field(), value: field()}
		for range number() {
			r.headers = append(r.headers, field()+"="+field())
		}
		slices.Sort(r.headers)
		found = append(found, r)
	}
	return found
}
