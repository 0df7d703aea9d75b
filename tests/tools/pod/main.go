// What the pods of a test cluster run: one static program, so that its image needs nothing else.
//
//	pod pause                                  waits, and reaps orphans: the container that holds a pod's namespaces
//	pod load [-rate N] [-keep] [-retries N] URL  requests URL at a steady rate until its standard input ends
//	pod dial HOST:PORT                         says "hello" over TCP, and prints what comes back
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	command, arguments := "pause", os.Args[1:]
	if len(arguments) > 0 {
		command, arguments = arguments[0], arguments[1:]
	}
	var err error
	switch command {
	case "pause":
		pause()
	case "load":
		err = load(arguments)
	case "dial":
		err = dial(arguments)
	default:
		err = fmt.Errorf("no command %q", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pause is the first process of a PID namespace: orphans become its children, and nobody else would reap them.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for got := range signals {
		if got != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
