"""The process in which a network runs whose file is a program: TorchScript, or an exported program.

Nothing here is imported by the process that audits. That one starts `serve.main` as a process of its own, sends the
file, and asks for logits and for products with their gradient; numbers travel as raw float64.

What keeps the program in:

- TorchScript is compiled by torch; nothing in it is unpickled by Python. Its archive is written anew from the entries
  that were looked at, so that no two readers can see two files in it. Custom classes, operators that are not torch's
  own, and operators that name files are refused.
- An exported program is not given to `torch.export.load`, which unpickles, evaluates expressions and resolves any name
  in torch. Its graph is read as JSON, and its operators are called one by one; only those of `aten` can be named.
  Pickled weights and objects are refused; pickled sample inputs are not opened.
- From the moment torch is there, the process can open no file and no connection, and make no file longer. Its memory
  and the time of each answer are limited. It does not hear Ctrl-C, and ends with the process that started it.

What does not: it runs with the rights of the user and reads the memory that it has. A fault in torch itself, of the
kind by which data take over a process, is not stopped here; for files of strangers, run the audit in a container.
"""
