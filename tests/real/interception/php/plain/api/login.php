<?php
// A login on plain PHP, as a file below the document root.
require __DIR__ . '/../../record.php';
header('x-backend: php');
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    echo '<form>';
} else {
    answer($_POST['email'] ?? null, $_POST['password'] ?? null);
}
