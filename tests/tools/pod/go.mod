module egressgateway.dev/tests/tools/pod

go 1.26
