-- What the eight endpoints ask for. The rows come in the order of client and creation, so the first index is also the
-- order of the table.
ALTER TABLE country ADD PRIMARY KEY (id);
ALTER TABLE city ADD PRIMARY KEY (id);
ALTER TABLE service ADD PRIMARY KEY (id);
ALTER TABLE product_size ADD PRIMARY KEY (id);
ALTER TABLE client ADD PRIMARY KEY (id);
ALTER TABLE route ADD PRIMARY KEY (id);
ALTER TABLE trackcode ADD PRIMARY KEY (id);
ALTER TABLE "order" ADD PRIMARY KEY (id);
CREATE INDEX ON trackcode (client_id, creation);
CREATE INDEX ON "order" (trackcode_id);
VACUUM ANALYZE;
