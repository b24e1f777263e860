"""After a backup was restored: what was erased since it was made is erased again.

`children` puts cascades back to work whose child database was restored. `parents` deletes parents
again that a restore of their database and its log has brought back, by the ledgers of the children.
Both only put work into the log: rows of children go by the one path of every deletion.
"""
