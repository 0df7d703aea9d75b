package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// A request that has no answer by then is lost. Longer than an answer takes on a busy machine: slow is not lost.
	patience = 15 * time.Second
	// Before a request is made once more.
	beforeRetry = 500 * time.Millisecond
)

// client makes requests and notes what came of each.
type client struct {
	http    *http.Client
	url     string
	retries int
	print   sync.Mutex
}

// load sends at a steady rate whatever became of the requests before, as clients do that know nothing of each other.
//
// A line for each request: when it was sent (seconds since the epoch), what came (a status, or an error), the address
// from which the server was reached (`-` where none answered), how long it took (milliseconds), how often it was tried.
func load(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	rate := flags.Float64("rate", 20, "requests a second")
	keep := flags.Bool("keep", false, "keep connections open, and use them again")
	retries := flags.Int("retries", 0, "how often a failed request is made once more")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("load URL")
	}
	transport := &http.Transport{DisableKeepAlives: !*keep, MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: patience}).DialContext}
	asked := &client{http: &http.Client{Timeout: patience, Transport: transport}, url: flags.Arg(0), retries: *retries}

	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	var open sync.WaitGroup
	tick := time.NewTicker(time.Duration(float64(time.Second) / *rate))
	for {
		select {
		case <-ended:
			open.Wait()
			return nil
		case <-tick.C:
			open.Add(1)
			go func() {
				defer open.Done()
				asked.request()
			}()
		}
	}
}

func (c *client) request() {
	begun := time.Now()
	outcome, peer, tries := "", "", 0
	for tries <= c.retries {
		if tries > 0 {
			time.Sleep(beforeRetry)
		}
		tries++
		if outcome, peer = c.ask(); outcome == "200" {
			break
		}
	}
	c.print.Lock()
	defer c.print.Unlock()
	fmt.Printf("%.3f %s %s %d %d\n", float64(begun.UnixMilli())/1000, outcome, peer, time.Since(begun).Milliseconds(), tries)
}

// ask makes one request. An error becomes one word, so that lines have the same number of them.
func (c *client) ask() (outcome, peer string) {
	answer, err := c.http.Get(c.url)
	if err != nil {
		return strings.ReplaceAll(err.Error(), " ", "-"), "-"
	}
	defer answer.Body.Close()
	var seen struct{ Peer string }
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return strings.ReplaceAll(err.Error(), " ", "-"), "-"
	}
	if json.Unmarshal(body, &seen) != nil || seen.Peer == "" {
		seen.Peer = "-"
	}
	return strconv.Itoa(answer.StatusCode), seen.Peer
}
