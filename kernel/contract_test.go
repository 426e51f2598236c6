package kernel_test

import (
	"testing"

	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

var _ kernel.Backend = (*kernel.Netlink)(nil)

func TestContractOnFake(t *testing.T) { kerneltest.Run(t, kerneltest.NewFakeWorld) }

func TestContractOnLinux(t *testing.T) { kerneltest.Run(t, kerneltest.NewRealWorld) }
