package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const dialSeconds = 5

// dial reports whether a TCP connection can be made, and what the server says to a line.
func dial(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("dial HOST:PORT")
	}
	connection, err := net.DialTimeout("tcp", arguments[0], dialSeconds*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(dialSeconds * time.Second))
	if _, err := io.WriteString(connection, "hello\n"); err != nil {
		return err
	}
	// The server keeps the connection open: the line itself comes back last.
	answer, buffer := "", make([]byte, 4096)
	for !strings.HasSuffix(answer, "hello\n") {
		count, err := connection.Read(buffer)
		answer += string(buffer[:count])
		if err != nil {
			fmt.Fprint(os.Stdout, answer)
			return err
		}
	}
	fmt.Fprint(os.Stdout, answer)
	return nil
}
