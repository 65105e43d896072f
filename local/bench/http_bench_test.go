package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
)

// answerAll answers requests with next to no effort of its own, so that the
// benchmarks below show the clients'.
func answerAll(b *testing.B) (addr string) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerOn(conn)
		}
	}()
	return listener.Addr().String()
}

func answerOn(conn net.Conn) {
	const receipt = `{"id":"01900000-0000-7000-8000-000000000000","order_id":"01900000-0000-7000-8000-000000000000"}`
	reply := fmt.Appendf(nil, "HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s", len(receipt), receipt)
	reader := bufio.NewReader(conn)
	for {
		length := 0
		for {
			line, err := reader.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := reader.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	addr := answerAll(b)
	a := newAuthor(scenarios()[0], 1, "run", addr)
	w := newWire(addr)
	defer w.close()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		request, _ := a.write(i)
		if _, err := w.do(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlaceNetHTTP is what the standard client would cost instead.
func BenchmarkPlaceNetHTTP(b *testing.B) {
	addr := answerAll(b)
	a := newAuthor(scenarios()[0], 1, "run", addr)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.write(i)
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+addr+"/v1/checkouts", bytes.NewReader(a.body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", idempotencyKey("run", i))
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

func BenchmarkAuthor(b *testing.B) {
	a := newAuthor(scenarios()[0], 1, "run", "localhost")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.write(i)
	}
}
