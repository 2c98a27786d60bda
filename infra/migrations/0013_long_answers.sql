-- A batch's own receipt names those of its commands: tens of kilobytes, nearly all of them ids. To
-- compress them takes longer than to write them, and halves what is a fiftieth of the space.

ALTER TABLE receipts ALTER answer SET STORAGE EXTERNAL;
