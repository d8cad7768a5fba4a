/* From GRUB (multiboot, 32 bits) to 64 bits with every vector register and the tiles enabled; then
 * check.c's run(). The first 4 GB are mapped as they are. There is no operating system, no handler:
 * a fault ends the emulation. */
    .section .multiboot, "a"
    .align 8
    .long 0x1badb002, 0, -0x1badb002

    .bss
    .align 4096
tables:
    .skip 3 * 4096
stack:
    .skip 1 << 20
stack_end:

    .section .rodata
    .align 8
gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .text
    .code32
    .global start
start:
    cli
    movl $tables + 4096 + 3, tables           /* 512 GB in one entry, 1 GB pages below it */
    movl $0x00000083, tables + 4096
    movl $0x40000083, tables + 4096 + 8
    movl $0x80000083, tables + 4096 + 16
    movl $0xc0000083, tables + 4096 + 24
    movl $tables, %eax
    movl %eax, %cr3
    movl $(1 << 5 | 1 << 9 | 1 << 10 | 1 << 18), %eax   /* PAE, SSE, its exceptions, XSAVE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $(1 << 8), %eax
    wrmsr
    movl $0x80000033, %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long
    .code64
long:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    leaq stack_end(%rip), %rsp
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $0x600e7, %eax                       /* x87, SSE, AVX, AVX-512, tiles */
    xsetbv
    call run
    hlt

    .section .note.GNU-stack, "", @progbits
