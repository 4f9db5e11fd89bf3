"""Where many LLMs and adapters wait for requests: in the memories of devices, hosts, disks and remote stores.

`nouns` has the question and the answer; `holding` what follows from who holds what; `checks` what is wrong with an
answer and what it achieves; `evictions` what each memory gives up first; `prices` what a witness may price; `bounds`
what no answer can beat.
"""
